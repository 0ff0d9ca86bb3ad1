// Quiet hours: windows of local wall time in which no new work is taken. `22:00-07:00`, `mon-fri 09:00-17:00`, `sat sun 00:00-24:00`.
// A window over midnight belongs to the day on which it begins. Pure: the caller says what the clock on the wall shows.

const DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"] as const;
const MINUTES_PER_HOUR = 60;
export const MINUTES_PER_DAY = 24 * MINUTES_PER_HOUR;
const MINUTES_PER_WEEK = DAYS.length * MINUTES_PER_DAY;
/** More than anybody needs, and few enough to look through every minute. */
export const WINDOWS_MAX = 50;

export interface QuietWindow {
  /** Days on which it begins; 0 is Monday. */
  readonly days: ReadonlySet<number>;
  /** Minute of the day. */
  readonly from: number;
  /** The first minute after it; at or below `from` it lies on the next day. */
  readonly to: number;
}

/** What a clock on the wall shows. */
export interface LocalTime {
  /** 0 is Monday. */
  readonly day: number;
  readonly minute: number;
}

/** Reads windows separated by commas. Returns the reason where they cannot be read. */
export function parseQuietHours(
  text: string,
):
  | { readonly kind: "ok"; readonly windows: readonly QuietWindow[] }
  | { readonly kind: "invalid"; readonly why: string } {
  const parts = text
    .split(",")
    .map((part) => part.trim())
    .filter((part) => part !== "");
  if (parts.length > WINDOWS_MAX) return { kind: "invalid", why: `at most ${WINDOWS_MAX} windows` };
  const windows: QuietWindow[] = [];
  for (const part of parts) {
    const window = parseWindow(part);
    if (typeof window === "string") return { kind: "invalid", why: `"${part}": ${window}` };
    windows.push(window);
  }
  return { kind: "ok", windows };
}

export function isQuiet(windows: readonly QuietWindow[], at: LocalTime): boolean {
  return windows.some((window) => lies(window, at));
}

/** When the present quiet ends; null where it is not quiet now or always is. Without regard to changes of daylight saving time. */
export function quietUntil(windows: readonly QuietWindow[], at: LocalTime): LocalTime | null {
  if (!isQuiet(windows, at)) return null;
  for (let ahead = 1; ahead <= MINUTES_PER_WEEK; ahead += 1) {
    const then = later(at, ahead);
    if (!isQuiet(windows, then)) return then;
  }
  return null;
}

export function localTimeOf(date: Date): LocalTime {
  // JavaScript's week begins on Sunday.
  return { day: (date.getDay() + 6) % DAYS.length, minute: date.getHours() * MINUTES_PER_HOUR + date.getMinutes() };
}

/** `{day: 1, minute: 425}` → `tue 07:05`. */
export function formatLocalTime({ day, minute }: LocalTime): string {
  return `${DAYS[day] ?? "?"} ${formatMinute(minute)}`;
}

function lies({ days, from, to }: QuietWindow, { day, minute }: LocalTime): boolean {
  if (from < to) return days.has(day) && minute >= from && minute < to;
  const yesterday = (day + DAYS.length - 1) % DAYS.length;
  return (days.has(day) && minute >= from) || (days.has(yesterday) && minute < to);
}

function later({ day, minute }: LocalTime, minutes: number): LocalTime {
  const at = (day * MINUTES_PER_DAY + minute + minutes) % MINUTES_PER_WEEK;
  return { day: Math.floor(at / MINUTES_PER_DAY), minute: at % MINUTES_PER_DAY };
}

function formatMinute(minute: number): string {
  const two = (value: number) => String(value).padStart(2, "0");
  return `${two(Math.floor(minute / MINUTES_PER_HOUR))}:${two(minute % MINUTES_PER_HOUR)}`;
}

// ── Reading ──

/** A window, or why it is none. */
function parseWindow(text: string): QuietWindow | string {
  const words = text.toLowerCase().split(/\s+/);
  const times = words.pop() ?? "";
  const match = /^(\d{1,2}):(\d{2})-(\d{1,2}):(\d{2})$/.exec(times);
  if (match === null) return "it ends with times such as 22:00-07:00; days come first: mon-fri 09:00-17:00";
  const from = minuteOf(match[1], match[2]);
  const to = minuteOf(match[3], match[4]);
  if (from === undefined || to === undefined || from === MINUTES_PER_DAY) return "times run from 00:00 to 24:00";
  if (from === to) return "it begins and ends at the same time; a whole day is 00:00-24:00";
  const days = parseDays(words);
  if (typeof days === "string") return days;
  return { days, from, to };
}

function minuteOf(hours = "", minutes = ""): number | undefined {
  const minute = Number(hours) * MINUTES_PER_HOUR + Number(minutes);
  return Number(minutes) < MINUTES_PER_HOUR && minute <= MINUTES_PER_DAY ? minute : undefined;
}

/** None at all means every day. `sat-mon` goes over the end of the week. */
function parseDays(words: readonly string[]): ReadonlySet<number> | string {
  if (words.length === 0) return new Set(DAYS.keys());
  const days = new Set<number>();
  for (const word of words) {
    const [first, last = first] = word.split("-").map((name) => DAYS.indexOf(name as (typeof DAYS)[number]));
    if (first === undefined || last === undefined || first < 0 || last < 0 || word.split("-").length > 2) {
      return `"${word}" is no day; days are ${DAYS.join(", ")}, or a range such as mon-fri`;
    }
    for (let day = first; ; day = (day + 1) % DAYS.length) {
      days.add(day);
      if (day === last) break;
    }
  }
  return days;
}
