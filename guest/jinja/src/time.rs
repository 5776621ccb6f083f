//! Dates, for `strftime_now`.

use crate::error::{Budget, Res};
use crate::text::{Builder, Text};
use alloc::format;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

/// Year, month from 1, day from 1, of a day counted from 1970-01-01. After Howard Hinnant's `civil_from_days`.
fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(month <= 2), month, day)
}

/// Writes a time, in seconds since 1970, UTC, as C's `strftime` does in English.
pub fn strftime(format: &Text, now: i64, budget: &Budget) -> Res<Text> {
    let now = now.clamp(-62_135_596_800, 253_402_300_799);
    let (days, second) = (now.div_euclid(86_400), now.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let weekday = (days + 4).rem_euclid(7);
    let mut yday = 0;
    while civil(days - yday).1 != 1 || civil(days - yday).2 != 1 {
        yday += 1;
    }
    let hour12 = (hour + 11) % 12 + 1;
    let name = |names: &[&'static str], at: i64| names.get(at as usize).copied().unwrap_or("");
    let short = |name: &'static str| name.get(..3).unwrap_or(name);
    let (weekday_name, month_name) = (name(&DAYS, weekday), name(&MONTHS, month - 1));
    let half = if hour < 12 { "AM" } else { "PM" };
    let mut out = Builder::default();
    let mut chars = format.chars();
    while let Some((c, user)) = chars.next() {
        if c != '%' {
            out.char(c, user);
            continue;
        }
        let (mut c, _) = chars.next().unwrap_or(('%', false));
        let mut pad = 2;
        if c == '-' {
            pad = 1;
            c = chars.next().map_or('%', |(c, _)| c);
        }
        let number = |out: &mut Builder, n: i64, width: usize| {
            let width = if pad == 1 { 1 } else { width };
            out.str(&format!("{n:0width$}"));
        };
        match c {
            'Y' => out.str(&format!("{year}")),
            'y' => number(&mut out, year.rem_euclid(100), 2),
            'C' => number(&mut out, year / 100, 2),
            'm' => number(&mut out, month, 2),
            'd' => number(&mut out, day, 2),
            'e' => out.str(&format!("{day:>pad$}")),
            'H' => number(&mut out, hour, 2),
            'I' => number(&mut out, hour12, 2),
            'M' => number(&mut out, minute, 2),
            'S' => number(&mut out, second, 2),
            'f' => out.str("000000"),
            'j' => number(&mut out, yday + 1, 3),
            'u' => out.str(&format!("{}", (weekday + 6) % 7 + 1)),
            'w' => out.str(&format!("{weekday}")),
            'U' => number(&mut out, (yday + 7 - weekday) / 7, 2),
            'W' => number(&mut out, (yday + 7 - (weekday + 6) % 7) / 7, 2),
            'p' => out.str(half),
            'A' => out.str(weekday_name),
            'a' => out.str(short(weekday_name)),
            'B' => out.str(month_name),
            'b' | 'h' => out.str(short(month_name)),
            's' => out.str(&format!("{now}")),
            'F' => out.str(&format!("{year}-{month:02}-{day:02}")),
            'D' | 'x' => out.str(&format!("{month:02}/{day:02}/{:02}", year.rem_euclid(100))),
            'T' | 'X' => out.str(&format!("{hour:02}:{minute:02}:{second:02}")),
            'R' => out.str(&format!("{hour:02}:{minute:02}")),
            'r' => out.str(&format!("{hour12:02}:{minute:02}:{second:02} {half}")),
            'c' => out.str(&format!(
                "{} {} {day:>2} {hour:02}:{minute:02}:{second:02} {year}",
                short(weekday_name),
                short(month_name)
            )),
            'z' | 'Z' => {}
            'n' => out.str("\n"),
            't' => out.str("\t"),
            '%' => out.str("%"),
            other => {
                out.str("%");
                out.char(other, false);
            }
        }
        budget.spend(1)?;
    }
    out.finish(budget)
}
