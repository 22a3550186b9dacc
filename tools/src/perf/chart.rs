// SPDX-License-Identifier: BSD-3-Clause

//! Latency over size, as SVG. Both axes are logarithmic.

use std::fmt::Write;

use super::report::Row;
use crate::units;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 460.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 170.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 60.0;
/// Told apart by people who see fewer colours, too.
const COLOURS: [&str; 6] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6d00", "#333333",
];

/// A line for each operation: the median, and dashed the 99th percentile.
pub(super) fn svg(title: &str, rows: &[Row]) -> String {
    let sizes = rows.iter().map(|row| row.size as f64);
    let (least, most) = sizes.fold((f64::MAX, 1.0f64), |(least, most), size| {
        (least.min(size), most.max(size))
    });
    let x_range = if least < most {
        (least.log2(), most.log2())
    } else {
        (most.log2() - 1.0, most.log2() + 1.0)
    };
    let values = || {
        rows.iter()
            .flat_map(|row| [row.librpma.percentile(50.0), row.librpma.percentile(99.0)])
    };
    let lowest = values().min().unwrap_or(1).max(1) as f64;
    let highest = values().max().unwrap_or(10).max(10) as f64;
    let y_range = (
        lowest.log10().floor(),
        highest.log10().ceil().max(lowest.log10().floor() + 1.0),
    );

    let x = |size: f64| {
        LEFT + (size.log2() - x_range.0) / (x_range.1 - x_range.0) * (WIDTH - LEFT - RIGHT)
    };
    let y = |ns: f64| {
        HEIGHT
            - BOTTOM
            - (ns.log10() - y_range.0) / (y_range.1 - y_range.0) * (HEIGHT - TOP - BOTTOM)
    };

    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<title>{title}</title>\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"28\" font-size=\"15\">{title}</text>\n",
        title = escape(title)
    );
    let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
    // Writing to a string cannot fail, here and below.
    for power in y_range.0 as i32..=y_range.1 as i32 {
        let (at, ns) = (y(10f64.powi(power)), 10u64.pow(power.unsigned_abs()));
        let _ = writeln!(
            out,
            "<line x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{right}\" y2=\"{at:.1}\" stroke=\"#cccccc\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 8.0,
            at + 4.0,
            time(ns)
        );
    }
    let mut ticks: Vec<u64> = rows.iter().map(|row| row.size).collect();
    ticks.sort_unstable();
    ticks.dedup();
    let step = ticks.len().div_ceil(10).max(1);
    for size in ticks.iter().step_by(step) {
        let at = x(*size as f64);
        let _ = writeln!(
            out,
            "<line x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{bottom}\" stroke=\"#eeeeee\"/>\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            bottom + 18.0,
            units::size(*size)
        );
    }
    let _ = writeln!(
        out,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">size in bytes</text>\n\
         <text x=\"18\" y=\"{:.1}\" text-anchor=\"middle\" transform=\"rotate(-90 18 {:.1})\">latency</text>",
        (LEFT + right) / 2.0,
        HEIGHT - 16.0,
        (TOP + bottom) / 2.0,
        (TOP + bottom) / 2.0
    );

    let mut ops: Vec<_> = rows.iter().map(|row| row.op).collect();
    ops.dedup();
    for (number, op) in ops.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        let mut series: Vec<&Row> = rows.iter().filter(|row| row.op == *op).collect();
        series.sort_by_key(|row| row.size);
        for (percentile, dashes) in [(50.0, ""), (99.0, " stroke-dasharray=\"5 4\"")] {
            let points: Vec<String> = series
                .iter()
                .map(|row| {
                    let ns = row.librpma.percentile(percentile).max(1) as f64;
                    format!("{:.1},{:.1}", x(row.size as f64), y(ns))
                })
                .collect();
            let _ = writeln!(
                out,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dashes}/>",
                points.join(" ")
            );
        }
        for row in &series {
            let ns = row.librpma.percentile(50.0).max(1);
            let _ = writeln!(
                out,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"><title>{} {}: {}</title></circle>",
                x(row.size as f64),
                y(ns as f64),
                op.name(),
                units::size(row.size),
                time(ns)
            );
        }
        let at = TOP + 20.0 * number as f64 + 8.0;
        let _ = writeln!(
            out,
            "<line x1=\"{0:.1}\" y1=\"{at:.1}\" x2=\"{1:.1}\" y2=\"{at:.1}\" stroke=\"{colour}\" \
             stroke-width=\"2\"/><text x=\"{2:.1}\" y=\"{3:.1}\">{4}</text>",
            right + 16.0,
            right + 40.0,
            right + 48.0,
            at + 4.0,
            op.name()
        );
    }
    let _ = writeln!(
        out,
        "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"#555555\">median; dashed: p99</text>\n</svg>",
        right + 16.0,
        TOP + 20.0 * ops.len() as f64 + 14.0
    );
    out
}

fn time(ns: u64) -> String {
    match ns {
        0..1000 => format!("{ns} ns"),
        1000..1_000_000 => format!("{} µs", ns as f64 / 1000.0),
        1_000_000..1_000_000_000 => format!("{} ms", ns as f64 / 1_000_000.0),
        _ => format!("{} s", ns as f64 / 1_000_000_000.0),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    // A test fails by panicking.
    #![allow(clippy::unwrap_used)]

    use super::super::Op;
    use super::super::measure::Measured;
    use super::*;

    fn row(op: Op, size: u64, ns: u64) -> Row {
        let mut librpma = Measured::new().unwrap();
        librpma.latency.record(ns).unwrap();
        Row {
            op,
            size,
            librpma,
            raw: None,
            cost: None,
        }
    }

    /// The numbers of the attribute `points`.
    fn points(svg: &str) -> Vec<Vec<(f64, f64)>> {
        svg.split("points=\"")
            .skip(1)
            .map(|rest| {
                let (list, _) = rest.split_once('"').unwrap();
                list.split(' ')
                    .map(|point| point.split_once(',').unwrap())
                    .map(|(x, y)| (x.parse().unwrap(), y.parse().unwrap()))
                    .collect()
            })
            .collect()
    }

    #[test]
    fn each_operation_has_two_lines_within_the_frame() {
        let rows = [
            row(Op::Read, 8, 900),
            row(Op::Read, 1024, 2000),
            row(Op::Write, 8, 800),
            row(Op::Write, 1024, 90_000),
        ];
        let svg = svg("a < b", &rows);
        assert!(svg.contains("a &lt; b") && svg.ends_with("</svg>\n"));
        let lines = points(&svg);
        assert_eq!(lines.len(), 4);
        for (x, y) in lines.into_iter().flatten() {
            assert!(
                (LEFT..=WIDTH - RIGHT).contains(&x) && (TOP..=HEIGHT - BOTTOM).contains(&y),
                "{x},{y}"
            );
        }
    }

    #[test]
    fn slower_is_higher_and_larger_is_further_right() {
        let lines = points(&svg("", &[row(Op::Read, 8, 1000), row(Op::Read, 64, 5000)]));
        assert!(lines[0][0].0 < lines[0][1].0 && lines[0][0].1 > lines[0][1].1);
    }

    #[test]
    fn one_point_or_none_makes_a_chart() {
        for rows in [vec![], vec![row(Op::Send, 8, 1)]] {
            let svg = svg("", &rows);
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }
}
