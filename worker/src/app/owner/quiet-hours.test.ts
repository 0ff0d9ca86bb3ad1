import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  formatLocalTime,
  isQuiet,
  type LocalTime,
  localTimeOf,
  MINUTES_PER_DAY,
  parseQuietHours,
  type QuietWindow,
  quietUntil,
} from "./quiet-hours.ts";

const DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

function windowsOf(text: string): readonly QuietWindow[] {
  const parsed = parseQuietHours(text);
  if (parsed.kind === "invalid") throw new Error(parsed.why);
  return parsed.windows;
}

function at(text: string): LocalTime {
  const [day = "", time = ""] = text.split(" ");
  const [hours = "0", minutes = "0"] = time.split(":");
  return { day: DAYS.indexOf(day), minute: Number(hours) * 60 + Number(minutes) };
}

const quietAt = (hours: string, time: string) => isQuiet(windowsOf(hours), at(time));

describe("quiet hours", () => {
  it.each([
    ["22:00-07:00", "mon 22:00", true],
    ["22:00-07:00", "tue 06:59", true],
    ["22:00-07:00", "tue 07:00", false],
    ["22:00-07:00", "mon 21:59", false],
    ["mon-fri 09:00-17:00", "fri 16:59", true],
    ["mon-fri 09:00-17:00", "sat 10:00", false],
    // Over midnight: Friday's window ends on Saturday morning, and Sunday night has none.
    ["mon-fri 22:00-06:00", "sat 05:59", true],
    ["mon-fri 22:00-06:00", "mon 05:59", false],
    ["mon-fri 22:00-06:00", "sun 23:00", false],
    ["sat sun 00:00-24:00", "sun 23:59", true],
    ["sat-mon 10:00-11:00", "sun 10:30", true],
    ["sat-mon 10:00-11:00", "tue 10:30", false],
    ["SAT 8:00-9:00, wed 12:00-13:00", "wed 12:30", true],
    ["", "wed 12:30", false],
  ])("%s at %s: %s", (hours, time, quiet) => {
    expect(quietAt(hours, time)).toBe(quiet);
  });

  it.each([
    ["22-07", /22:00-07:00/],
    ["22:00-25:00", /24:00/],
    ["24:00-01:00", /24:00/],
    ["10:60-11:00", /24:00/],
    ["10:00-10:00", /whole day/],
    ["monday 10:00-11:00", /no day/],
    ["mon-wed-fri 10:00-11:00", /no day/],
    ["mon", /09:00-17:00/],
    ["1:00-2:00,".repeat(51), /at most 50/],
  ])("cannot be %s", (hours, why) => {
    expect(parseQuietHours(hours)).toMatchObject({ kind: "invalid", why: expect.stringMatching(why) });
  });

  it("end when the last window that touches the present one ends", () => {
    const until = (hours: string, time: string) => {
      const then = quietUntil(windowsOf(hours), at(time));
      return then === null ? null : formatLocalTime(then);
    };
    expect(until("22:00-07:00", "mon 23:00")).toBe("tue 07:00");
    expect(until("22:00-07:00, 07:00-08:30", "sun 23:00")).toBe("mon 08:30");
    expect(until("00:00-24:00", "sun 23:00")).toBeNull();
    expect(until("22:00-07:00", "mon 12:00")).toBeNull();
  });

  const minute = fc.integer({ min: 0, max: MINUTES_PER_DAY - 1 });
  const clock = (value: number) => `${Math.floor(value / 60)}:${String(value % 60).padStart(2, "0")}`;
  const window = fc
    .record({
      days: fc.subarray([0, 1, 2, 3, 4, 5, 6], { minLength: 1 }),
      from: minute,
      length: fc.integer({ min: 1, max: MINUTES_PER_DAY }),
    })
    .filter(({ length }) => length < MINUTES_PER_DAY)
    .map(({ days, from, length }) => ({
      days,
      from,
      length,
      text: `${days.map((day) => DAYS[day]).join(" ")} ${clock(from)}-${clock((from + length) % MINUTES_PER_DAY)}`,
    }));

  it("are exactly the minutes of the week that the windows cover", () => {
    fc.assert(
      fc.property(fc.array(window, { maxLength: 4 }), (chosen) => {
        const week = 7 * MINUTES_PER_DAY;
        const covered = new Set<number>();
        for (const { days, from, length } of chosen) {
          for (const day of days) {
            for (let n = 0; n < length; n += 1) covered.add((day * MINUTES_PER_DAY + from + n) % week);
          }
        }
        const windows = windowsOf(chosen.map(({ text }) => text).join(", "));
        for (let n = 0; n < week; n += 1) {
          const here = { day: Math.floor(n / MINUTES_PER_DAY), minute: n % MINUTES_PER_DAY };
          if (isQuiet(windows, here) !== covered.has(n)) throw new Error(`${formatLocalTime(here)} is wrong`);
        }
      }),
      { numRuns: 30 },
    );
  });

  it("read any text without a throw", () => {
    fc.assert(fc.property(fc.string(), (text) => ["ok", "invalid"].includes(parseQuietHours(text).kind)));
  });

  it("follow the clock on the wall through a change of daylight saving time", () => {
    // 2026-03-29 in Berlin: 02:00 becomes 03:00. The wall clock is all that counts.
    const seen = [0, 59, 60, 61].map((minutes) => {
      const date = new Date(Date.UTC(2026, 2, 29, 0, 0) + minutes * 60_000);
      const wall = new Intl.DateTimeFormat("en-GB", {
        timeZone: "Europe/Berlin",
        weekday: "short",
        hour: "2-digit",
        minute: "2-digit",
      }).format(date);
      const [day = "", time = ""] = wall.toLowerCase().replace(",", "").split(" ");
      return quietAt("sun 02:30-03:01", `${day} ${time}`);
    });
    expect(seen).toEqual([false, false, true, false]);
    const date = new Date(2026, 10, 27, 9, 5);
    expect(formatLocalTime(localTimeOf(date))).toBe("fri 09:05");
  });
});
