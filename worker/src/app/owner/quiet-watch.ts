// Keeps the offer paused in quiet hours. The clock on the wall is looked at each minute, so that a jump of it, a suspended machine or a change of
// daylight saving time is never acted on longer than that.
import { type OfferKeeper, setPause } from "../offer.ts";
import { isQuiet, localTimeOf, parseQuietHours, quietUntil, type QuietWindow, formatLocalTime } from "./quiet-hours.ts";

const LOOK_EVERY_MS = 60_000;

export interface QuietWatch {
  /** Takes up the present setting. Without windows nothing runs. */
  refresh(): void;
  /** `tue 07:00`; null where it is not quiet now, or always is. */
  until(): string | null;
  stop(): void;
}

export function createQuietWatch(
  ports: { readonly keeper: OfferKeeper; wallTime(): Date },
  settings: { readonly quietHours: readonly string[] },
): QuietWatch {
  let timer: NodeJS.Timeout | null = null;
  let windows: readonly QuietWindow[] = [];

  function look(): void {
    setPause(ports.keeper, "quiet_hours", isQuiet(windows, localTimeOf(ports.wallTime())));
  }

  function stop(): void {
    if (timer !== null) clearInterval(timer);
    timer = null;
  }

  return {
    refresh() {
      stop();
      const parsed = parseQuietHours(settings.quietHours.join(","));
      windows = parsed.kind === "ok" ? parsed.windows : [];
      if (windows.length > 0) timer = setInterval(look, LOOK_EVERY_MS);
      look();
    },
    until() {
      const then = quietUntil(windows, localTimeOf(ports.wallTime()));
      return then === null ? null : formatLocalTime(then);
    },
    stop,
  };
}
