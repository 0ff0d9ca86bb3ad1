// The numeric user and group an image's `USER` stands for, as the Engine resolves it: numbers as they are, names from the image's own files.
export interface NumericUser {
  readonly uid: number;
  readonly gid: number;
}

/** The Engine takes no more (runc: "uids and gids must be in range 0-2147483647"). */
const ID_MAX = 2 ** 31 - 1;

/** `user`: the image's `USER`; `passwd` and `group`: content of the image's files, empty where it has none. Undefined where a name is not in them, or stands for no number. */
export function resolveUser(user: string, passwd: string, group: string): NumericUser | undefined {
  const found = lookUp(user, passwd, group);
  return found !== undefined && isId(found.uid) && isId(found.gid) ? found : undefined;
}

function lookUp(user: string, passwd: string, group: string): NumericUser | undefined {
  const [name = "", groupName] = user.split(":", 2);
  if (name === "" || name === "root") return withGroup({ uid: 0, gid: 0 }, groupName, group);
  const rows = passwd.split("\n").map((line) => line.split(":"));
  const row = isNumber(name) ? rows.find((fields) => fields[2] === name) : rows.find((fields) => fields[0] === name);
  if (row === undefined) return isNumber(name) ? withGroup({ uid: Number(name), gid: 0 }, groupName, group) : undefined;
  return withGroup({ uid: numberIn(row[2]), gid: numberIn(row[3]) }, groupName, group);
}

/** True when the image's files are needed to know the numbers. */
export function needsFiles(user: string): boolean {
  return user !== "" && user !== "root" && !/^(0|[1-9][0-9]*):(0|[1-9][0-9]*)$/.test(user);
}

function withGroup(user: NumericUser, name: string | undefined, group: string): NumericUser | undefined {
  if (name === undefined || name === "") return user;
  if (isNumber(name)) return { uid: user.uid, gid: Number(name) };
  const row = group
    .split("\n")
    .map((line) => line.split(":"))
    .find((fields) => fields[0] === name);
  return row === undefined ? undefined : { uid: user.uid, gid: numberIn(row[2]) };
}

function isNumber(text: string): boolean {
  return /^(0|[1-9][0-9]*)$/.test(text);
}

/** Not a number for an empty field, which would else be root. */
function numberIn(field: string | undefined): number {
  return field !== undefined && isNumber(field) ? Number(field) : Number.NaN;
}

function isId(value: number): boolean {
  return value >= 0 && value <= ID_MAX;
}

const TAR_BLOCK = 512;

/** The content of the first regular file in a tar archive; empty where there is none. Enough for what the Engine sends of one file. */
export function firstFileOfTar(tar: Buffer): string {
  for (let at = 0; at + TAR_BLOCK <= tar.length; ) {
    const size = Number.parseInt(tar.toString("latin1", at + 124, at + 136), 8) || 0;
    const type = tar.toString("latin1", at + 156, at + 157);
    const start = at + TAR_BLOCK;
    if (type === "0" || type === "\0") return tar.toString("utf8", start, start + size);
    at = start + Math.ceil(size / TAR_BLOCK) * TAR_BLOCK;
  }
  return "";
}
