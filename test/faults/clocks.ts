// A wall clock of a program's own, which can be set while it runs: libfaketime before the C library. Only the wall clock: the machine's other clocks are
// its own. Setting the machine's own clock would set it for everybody on it.
import { existsSync, readdirSync, renameSync, writeFileSync } from "node:fs";

const LIBRARY = findLibrary();

/** Why no wall clock can be set here; undefined where it can. */
export function whyNoClock(): string | undefined {
  return LIBRARY === undefined ? "libfaketime is not installed" : undefined;
}

/** For a program whose clock is set by {@link setClock} on `file`, which has to be there. */
export function clockEnv(file: string): Readonly<Record<string, string>> {
  if (LIBRARY === undefined) return {};
  return {
    LD_PRELOAD: LIBRARY,
    FAKETIME_TIMESTAMP_FILE: file,
    FAKETIME_CACHE_DURATION: "1",
    FAKETIME_DONT_FAKE_MONOTONIC: "1",
    NO_FAKE_STAT: "1",
  };
}

/** Takes effect within a second. */
export function setClock(file: string, offsetS: number): void {
  // Nobody reads half of it.
  writeFileSync(`${file}.new`, `${offsetS < 0 ? "" : "+"}${offsetS}`);
  renameSync(`${file}.new`, file);
}

function findLibrary(): string | undefined {
  const folders = [
    "/usr/lib",
    ...(existsSync("/usr/lib") ? readdirSync("/usr/lib") : []).map((name) => `/usr/lib/${name}`),
  ];
  return folders.map((folder) => `${folder}/faketime/libfaketime.so.1`).find((path) => existsSync(path));
}
