// A program for tests: puts the keys of the data directory it is given under one master key and the other, without end, and prints a line for each turn.
import { writeSync } from "node:fs";
import { rotateKeys } from "../index.ts";

const STDOUT = 1;
const [dataDir = "", one = "", other = ""] = process.argv.slice(2);

for (let turn = 0; ; turn += 1) {
  const [from, to] = turn % 2 === 0 ? [one, other] : [other, one];
  rotateKeys(dataDir, from, to);
  writeSync(STDOUT, `${to}\n`);
}
