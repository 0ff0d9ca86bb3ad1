// Colours only for a terminal, and not where the person asked for none (https://no-color.org).
import pc from "picocolors";

export type Colors = ReturnType<typeof pc.createColors>;

export function colorsFor(env: Readonly<Record<string, string | undefined>>, isTTY: boolean, wanted: boolean): Colors {
  const noColor = env["NO_COLOR"] ?? "";
  return pc.createColors(wanted && isTTY && noColor === "" && env["TERM"] !== "dumb");
}
