// Output patterns: `*` and `?` within a name, `**` over any number of names. Matched without backtracking over the whole path,
// because a consumer writes the pattern and a provider's machine does the work.

/** True when `path` (absolute, inside the container) is meant by `pattern`. A pattern that names a folder means all in it. */
export function matchesOutput(pattern: string, path: string): boolean {
  const wanted = split(pattern);
  const names = split(path);
  if (matchNames(wanted, names)) return true;
  // `/out` or `/out/results` without a star: the folder with everything under it.
  return !pattern.includes("*") && !pattern.includes("?") && matchNames([...wanted, "**"], names);
}

function split(path: string): string[] {
  return path.split("/").filter((name) => name !== "");
}

/** reachable[i] after j names: the first i parts of the pattern match the first j names. */
function matchNames(pattern: readonly string[], names: readonly string[]): boolean {
  let reachable = closure(pattern, [true, ...pattern.map(() => false)]);
  for (const name of names) {
    const next = [false, ...pattern.map(() => false)];
    for (const [index, part] of pattern.entries()) {
      if (reachable[index] !== true) continue;
      if (part === "**") next[index] = true;
      else if (matchName(part, name)) next[index + 1] = true;
    }
    reachable = closure(pattern, next);
  }
  return reachable[pattern.length] === true;
}

/** `**` matches no names at all, too. */
function closure(pattern: readonly string[], reachable: boolean[]): boolean[] {
  for (const [index, part] of pattern.entries()) {
    if (part === "**" && reachable[index] === true) reachable[index + 1] = true;
  }
  return reachable;
}

/** Greedy with one point of return: at most pattern × name steps. */
function matchName(pattern: string, name: string): boolean {
  let p = 0;
  let n = 0;
  let star = -1;
  let mark = 0;
  while (n < name.length) {
    if (p < pattern.length && pattern[p] === "*") {
      star = p++;
      mark = n;
    } else if (p < pattern.length && (pattern[p] === "?" || pattern[p] === name[n])) {
      p += 1;
      n += 1;
    } else if (star >= 0) {
      p = star + 1;
      n = ++mark;
    } else {
      return false;
    }
  }
  while (p < pattern.length && pattern[p] === "*") p += 1;
  return p === pattern.length;
}
