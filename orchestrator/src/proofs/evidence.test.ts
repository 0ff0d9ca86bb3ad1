import { describe, expect, it } from "vitest";
import { createEvidenceCheck } from "./evidence.ts";

describe("evidence of failed proofs that is handed in", () => {
  it("is worked out for a few at a time, and for the next ones when they are done", async () => {
    const check = createEvidenceCheck();
    const of = { publicKey: "", evidence: { proofs: [] } };
    const said = await Promise.allSettled([check(of), check(of), check(of)]);
    const fault = { status: "fulfilled", value: expect.stringMatching(/at least 2 signed claims/) as string };
    const refused = { status: "rejected", reason: expect.objectContaining({ code: "overloaded" }) as Error };
    expect(said).toMatchObject([fault, fault, refused]);
    expect(await check(of)).toMatch(/at least 2/);
  });
});
