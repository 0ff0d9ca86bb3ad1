import pc from "picocolors";
import { describe, expect, it } from "vitest";
import { formatFields, formatTable } from "./table.ts";

const plain = pc.createColors(false);
/** Clears the screen, as what others wrote might try to; the second in one byte. */
const HOSTILE = "paid\u001b[2J\u009b2J\r\nfake";
const MASKED = "paid?[2J?2J??fake";

describe("what others wrote", () => {
  it("does not steer the terminal from a table", () => {
    const text = formatTable([{ title: "REASON", value: (row: string) => row }], [HOSTILE], plain);
    expect(text).toBe(`REASON\n${MASKED}`);
  });

  it("nor from fields, which are painted as they are asked to be", () => {
    const paint = (text: string) => `<${text}>`;
    expect(
      formatFields(
        [
          ["Reason", HOSTILE],
          ["To", null],
          ["By", HOSTILE, paint],
        ],
        plain,
      ),
    ).toBe(`Reason  ${MASKED}\nBy      <${MASKED}>`);
  });
});
