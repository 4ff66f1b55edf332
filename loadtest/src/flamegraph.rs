//! `flamegraph`: call stacks, folded to one line each with their number of samples (`a;b;c 12`), as a picture: the wider a
//! function, the more of the time it was on the stack; what it calls stands above it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;

use crate::chart::escape;
use crate::client::Failure;

const WIDTH: f64 = 1_600.0;
const ROW: f64 = 18.0;
const TOP: f64 = 48.0;
/// Narrower pieces cannot be seen.
const WIDTH_MIN: f64 = 0.4;
/// Of the font, for cutting names.
const LETTER: f64 = 6.6;

#[derive(Default)]
struct Node {
    samples: u64,
    calls: BTreeMap<String, Self>,
}

impl Node {
    fn depth(&self) -> usize {
        self.calls.values().map(|call| 1 + call.depth()).max().unwrap_or(0)
    }
}

/// Draws the stacks of a file into an SVG file.
pub(crate) fn run(stacks: &OsString, svg: &OsString, title: &str) -> Result<(), Failure> {
    let text = std::fs::read_to_string(stacks).map_err(|error| Failure::from(error).during("reading the stacks"))?;
    let root = fold(&text)?;
    std::fs::write(svg, draw(&root, title)).map_err(|error| Failure::from(error).during("writing the flame graph"))
}

fn fold(text: &str) -> Result<Node, Failure> {
    let mut root = Node::default();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let parsed = line.rsplit_once(' ').and_then(|(stack, samples)| Some((stack, samples.parse::<u64>().ok()?)));
        let (stack, samples) = parsed.ok_or_else(|| Failure::new(format!("not a folded stack: {line}")))?;
        root.samples += samples;
        let mut node = &mut root;
        for function in stack.split(';') {
            node = node.calls.entry(function.to_owned()).or_default();
            node.samples += samples;
        }
    }
    if root.samples == 0 {
        return Err(Failure::new("no samples: was the process idle?"));
    }
    Ok(root)
}

#[allow(clippy::cast_precision_loss, reason = "a picture")]
fn draw(root: &Node, title: &str) -> String {
    let height = TOP + ROW * (root.depth() + 1) as f64 + 12.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"monospace\" font-size=\"11\">\
         <style>rect{{stroke:#fff;stroke-width:.5}}g:hover>rect{{fill:#fff3b0}}text{{pointer-events:none}}</style>\
         <rect width=\"100%\" height=\"100%\" fill=\"#fdfcfa\"/>\
         <text x=\"10\" y=\"22\" font-size=\"16\">{}</text><text x=\"10\" y=\"40\" fill=\"#666\">{} samples; \
         width is the share of them, callees stand above; hover for names</text>",
        escape(title),
        root.samples
    );
    let scale = WIDTH / root.samples as f64;
    paint(&mut svg, "all", root, root.samples, 0.0, height - ROW - 8.0, scale);
    svg.push_str("</svg>\n");
    svg
}

#[allow(clippy::cast_precision_loss, reason = "a picture")]
fn paint(svg: &mut String, name: &str, node: &Node, all: u64, x: f64, y: f64, scale: f64) {
    let width = node.samples as f64 * scale;
    if width < WIDTH_MIN {
        return;
    }
    let share = node.samples as f64 / all as f64 * 100.0;
    let _ = write!(
        svg,
        "<g><title>{0}: {1} samples, {share:.2} %</title><rect x=\"{x:.2}\" y=\"{y:.1}\" width=\"{width:.2}\" height=\"{ROW}\" fill=\"{2}\"/>",
        escape(name),
        node.samples,
        colour(name),
    );
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few hundred letters")]
    let letters = ((width - 4.0) / LETTER).max(0.0) as usize;
    if letters > 2 {
        let mut shown: String = name.chars().take(letters).collect();
        if shown.len() < name.len() {
            shown.pop();
            shown.push('…');
        }
        let _ = write!(svg, "<text x=\"{:.2}\" y=\"{:.1}\">{}</text>", x + 3.0, y + 13.0, escape(&shown));
    }
    svg.push_str("</g>");
    let mut at = x;
    for (function, call) in &node.calls {
        paint(svg, function, call, all, at, y - ROW, scale);
        at += call.samples as f64 * scale;
    }
}

/// The kernel cool, our own code warm, the rest between; the same name always alike.
fn colour(name: &str) -> String {
    let hash = name.bytes().fold(7_u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte)));
    let shade = hash % 24;
    let hue = if name.starts_with("[k] ") {
        205
    } else if name.contains("happier_server") || name.contains("protocol::") {
        24
    } else {
        48
    };
    format!("hsl({},{}%,{}%)", hue + shade / 2, 70 + shade / 2, 66 + shade / 3)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{draw, fold};

    #[test]
    fn stacks_add_up() {
        let root = fold("server;main;read 3\nserver;main;write 5\nserver;idle 2\n").unwrap();
        assert_eq!((root.samples, root.depth()), (10, 3));
        assert_eq!(root.calls["server"].calls["main"].samples, 8);
        let svg = draw(&root, "a & b");
        assert!(svg.contains("write: 5 samples, 50.00 %") && svg.contains("a &amp; b"));
        assert!(fold("nothing").is_err() && fold("").is_err());
    }
}
