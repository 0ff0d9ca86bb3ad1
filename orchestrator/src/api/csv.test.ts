import { describe, expect, it } from "vitest";
import { csvRow, csvUnits } from "./csv.ts";

describe("CSV", () => {
  it("quotes what has commas, quotes or line ends, and ends each row with CRLF (RFC 4180)", () => {
    expect(csvRow(["a", 1, { said: 'x, "y"\nz' }, ""])).toBe('a,1,"x, ""y""\nz",\r\n');
  });

  it.each(["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "=cmd|' /C calc'!A0", "%0A=1"])(
    "makes %j of a user harmless for a spreadsheet",
    (text) => {
      expect(
        csvRow([{ said: text }])
          .replace(/^"/, "")
          .startsWith("'"),
      ).toBe(true);
    },
  );

  it("leaves other names, and amounts of ours that are below zero, as they are", () => {
    expect(csvRow([{ said: "nightly run #4" }, csvUnits("-1250000"), csvUnits("1")])).toBe(
      "nightly run #4,-1.25,0.000001\r\n",
    );
  });
});
