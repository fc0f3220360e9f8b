// Times and durations as people read them, in the viewer's own time zone. Pure but for the zone.

const clockFormat = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const minuteFormat = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const fullFormat = new Intl.DateTimeFormat("en-GB", { dateStyle: "full", timeStyle: "medium" });
// A day is a UTC date, so it must be written out in UTC or it would shift west of Greenwich.
const weekdayFormat = new Intl.DateTimeFormat("en-GB", { weekday: "long", timeZone: "UTC" });
const dateFormat = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "long", year: "numeric", timeZone: "UTC" });
const shortDayFormat = new Intl.DateTimeFormat("en-GB", { weekday: "short", day: "numeric", month: "short", timeZone: "UTC" });

export const clock = (when) => clockFormat.format(new Date(when));
export const minute = (when) => minuteFormat.format(new Date(when));
export const fullTime = (when) => fullFormat.format(new Date(when));
export const weekday = (day) => weekdayFormat.format(noon(day));
export const date = (day) => dateFormat.format(noon(day));
export const shortDay = (day) => shortDayFormat.format(noon(day));

// "12 s", "4 min", "3 h 12 min": one or two units, no more precise than anyone needs.
export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  return `${Math.floor(hours / 24)} days`;
}

// "02:14:09": a running time, in fixed-width digits.
export function stopwatch(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return parts.map((part) => String(part).padStart(2, "0")).join(":");
}

const noon = (day) => new Date(`${day}T12:00:00Z`);
