// What the owner asks for, as jobs will pay it: the place to see that a price is missing, or that something is given away.
import type { Check, DoctorContext } from "../check.ts";
import { ok, warn } from "../check.ts";

export async function checkPrices({ config }: DoctorContext): Promise<readonly Check[]> {
  const name = "Prices";
  const needed = "a price for what is offered";
  const { currency } = config;
  const asked: readonly (readonly [string | undefined, string])[] = [
    [config.pricePerGpuHour, "a GPU"],
    [config.pricePerGpuJobCpuHour, "a core beside a GPU"],
    [config.pricePerCpuHour, "a core"],
    [config.pricePerMemoryGibHour, "a GiB of memory"],
    [config.pricePerDiskGibHour, "a GiB of disk"],
    [config.pricePerEgressGib, "a GiB that a job sends"],
  ];
  const texts = asked.flatMap(([price, of]) => (price === undefined ? [] : [`${price} ${currency} ${of}`]));
  const found = `an hour: ${texts.join(", ")}; the rest is in these`;
  if (config.pricePerGpuJobCpuHour !== undefined && config.pricePerGpuHour === undefined) {
    const remedy = "Give --price-per-gpu-hour too: without it no GPU is offered, and no job has cores beside one";
    return [warn(name, found, needed, remedy)];
  }
  if (Number(config.pricePerCpuHour) === 0 && Number(config.pricePerMemoryGibHour ?? 0) === 0) {
    return [warn(name, found, needed, "Jobs without GPUs cost nothing here: give --price-per-cpu-hour a price")];
  }
  return [ok(name, found, needed)];
}
