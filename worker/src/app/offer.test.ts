import { describe, expect, it } from "vitest";
import type { WorkerOffer } from "@qubix/shared/protocol";
import { parseGpus } from "../gpu/query-csv.ts";
import { createOfferKeeper, type OfferParts, offerOf } from "./offer.ts";

const TWO_CARDS = `GPU-5f7f4e2b-9f3e-4c64-9a39-2c3a8f1b6d10, NVIDIA GeForce RTX 4090, 24564, 550.54.14, 8.9
GPU-0b9ad1c1-52a5-1f21-6d33-3c1bdf3f6e77, NVIDIA GeForce RTX 3090, 24576, 550.54.14, 8.6
`;

describe("an offer", () => {
  const machine = { cpus: 8, memoryMiB: 16_000, diskMiBFree: 100_000 };
  const terms = {
    region: "eu-west",
    pricePerCpuHour: { amount: 100_000n, currency: "USD" },
    standbyPercent: 25,
    localImages: [],
  };

  const parts = (patch: Partial<OfferParts>): OfferParts => ({
    machine,
    detection: { kind: "absent" },
    terms,
    pauses: new Set(),
    withheldGpus: new Set(),
    features: new Set(),
    ...patch,
  });

  it("keeps a reserve for the machine, and follows what its owner says", () => {
    expect(offerOf(parts({}))).toMatchObject({
      cpus: 8,
      memoryMiB: 14_400,
      diskMiB: 90_000,
      gpus: [],
    });
    const own = offerOf(
      parts({ terms: { ...terms, cpus: 2, memoryMiB: 100, diskMiB: 200 }, pauses: new Set(["drained"]) }),
    );
    expect(own).toMatchObject({ cpus: 2, memoryMiB: 100, diskMiB: 200, draining: true });
  });

  it("names a price of what jobs send only where its owner does", () => {
    expect(offerOf(parts({}))).not.toHaveProperty("pricePerEgressGiB");
    const pricePerEgressGiB = { amount: 50_000n, currency: "USD" };
    expect(offerOf(parts({ terms: { ...terms, pricePerEgressGiB } }))).toMatchObject({ pricePerEgressGiB });
  });

  it("has GPUs only at a price", () => {
    const cards = parseGpus(TWO_CARDS);
    expect(offerOf(parts({ detection: cards })).gpus).toHaveLength(0);
    const priced = { ...terms, pricePerGpuHour: { amount: 1n, currency: "USD" } };
    expect(offerOf(parts({ detection: cards, terms: priced })).gpus).toHaveLength(2);
    const withheld = new Set(["GPU-0b9ad1c1-52a5-1f21-6d33-3c1bdf3f6e77"]);
    expect(offerOf(parts({ detection: cards, terms: priced, withheldGpus: withheld })).gpus).toHaveLength(1);
  });

  it("is told again only when it is another one", () => {
    const told: WorkerOffer[] = [];
    const keeper = createOfferKeeper(parts({}), (offer) => told.push(offer));
    keeper.update({ features: new Set(["egress"]) });
    keeper.update({ features: new Set(["egress"]), pauses: new Set() });
    keeper.update({ pauses: new Set(["quiet_hours"]) });
    expect(told.map(({ features, draining }) => [features, draining])).toEqual([
      [["egress"], false],
      [["egress"], true],
    ]);
    expect(keeper.offer().draining).toBe(true);
  });
});
