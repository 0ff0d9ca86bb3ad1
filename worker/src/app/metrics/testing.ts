// A strict reader of Prometheus' text format 0.0.4, for tests: what a scraper would refuse throws.

const SAMPLE =
  /^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*",?)*\})? (-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)$/;

/** Values by name with labels, as written. Every family has HELP and TYPE before its samples, comes once, and a counter's name says so. */
export function parseMetrics(text: string): ReadonlyMap<string, number> {
  if (!text.endsWith("\n")) throw new Error("the last line is not ended");
  const values = new Map<string, number>();
  const families = new Map<string, string>();
  let helped = "";
  let current = "";
  for (const line of text.slice(0, -1).split("\n")) {
    const help = /^# HELP (\S+) \S/.exec(line);
    const type = /^# TYPE (\S+) (counter|gauge)$/.exec(line);
    if (help !== null) helped = help[1] ?? "";
    else if (type !== null) {
      const [, name = "", kind = ""] = type;
      if (name !== helped) throw new Error(`${name} has no HELP before its TYPE`);
      if (families.has(name)) throw new Error(`${name} comes twice`);
      if ((kind === "counter") !== name.endsWith("_total")) throw new Error(`${name} is a ${kind}`);
      families.set(name, kind);
      current = name;
    } else {
      const sample = SAMPLE.exec(line);
      if (sample === null) throw new Error(`no sample: ${line}`);
      const [, name = "", labels = "", value] = sample;
      if (name !== current) throw new Error(`${name} stands among the samples of ${current}`);
      if (values.has(name + labels)) throw new Error(`${name}${labels} comes twice`);
      values.set(name + labels, Number(value));
    }
  }
  return values;
}
