//! The `.env` file: `NAME=value` lines with optional quotes, comments and `export`.
//!
//! Reads what the widespread dotenv packages write. A quoted value may span lines, which is how keys in PEM form are
//! given; `\n` and `\r` mean line breaks in double quotes only; an unquoted value ends at `#`.

/// A parsed file: the variables in order, and the numbers of lines that are none. The lines themselves stay out of
/// messages, since they may hold secrets.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct File {
    pub variables: Vec<(String, String)>,
    pub odd_lines: Vec<usize>,
}

pub fn parse(text: &str) -> File {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut file = File::default();
    let mut rest = text;
    let mut line = 1;
    while !rest.is_empty() {
        let before = rest;
        match variable(rest) {
            Parsed::Variable { name, value, rest: after } => {
                file.variables.push((name.to_owned(), value));
                rest = after;
            }
            Parsed::Nothing => rest = after_line(rest),
            Parsed::Odd => {
                file.odd_lines.push(line);
                rest = after_line(rest);
            }
        }
        line += before[..before.len() - rest.len()].matches('\n').count();
    }
    file
}

enum Parsed<'t> {
    Variable {
        name: &'t str,
        value: String,
        rest: &'t str,
    },
    /// An empty line or a comment.
    Nothing,
    /// Something else.
    Odd,
}

fn variable(text: &str) -> Parsed<'_> {
    let text = text.trim_start_matches([' ', '\t', '\r']);
    if text.is_empty() || text.starts_with(['#', '\n']) {
        return Parsed::Nothing;
    }
    let text = text.strip_prefix("export ").map_or(text, |text| text.trim_start_matches([' ', '\t']));
    let name_end = text.find(|c: char| !(c.is_ascii_alphanumeric() || "_.-".contains(c))).unwrap_or(text.len());
    let (name, text) = text.split_at(name_end);
    let Some(value) = text.trim_start_matches([' ', '\t']).strip_prefix('=') else { return Parsed::Odd };
    if name.is_empty() {
        return Parsed::Odd;
    }
    let value = value.trim_start_matches([' ', '\t']);
    if let Some((value, rest)) = quoted(value) {
        return Parsed::Variable { name, value, rest };
    }
    let line = value.split('\n').next().unwrap_or_default();
    let bare = line.split('#').next().unwrap_or_default().trim();
    Parsed::Variable { name, value: bare.to_owned(), rest: after_line(value) }
}

/// A value in quotes and what follows its line, if the quotes are closed and only a comment follows them.
fn quoted(text: &str) -> Option<(String, &str)> {
    let quote = text.chars().next().filter(|quote| matches!(quote, '"' | '\'' | '`'))?;
    let body = &text[1..];
    let mut escaped = false;
    let end = body.find(|c| {
        let closes = c == quote && !escaped;
        escaped = c == '\\' && !escaped;
        closes
    })?;
    let (value, after) = (&body[..end], &body[end + 1..]);
    let trailer = after.split('\n').next().unwrap_or_default().trim();
    if !(trailer.is_empty() || trailer.starts_with('#')) {
        return None;
    }
    let value = if quote == '"' { value.replace("\\n", "\n").replace("\\r", "\r") } else { value.to_owned() };
    Some((value, after_line(after)))
}

fn after_line(text: &str) -> &str {
    text.split_once('\n').map_or("", |(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_in_all_their_forms() {
        let table = [
            ("A=b", "b"),
            ("A=", ""),
            ("A = b ", "b"),
            ("  export A=b\r", "b"),
            ("A=b c # comment", "b c"),
            ("A=b#c", "b"),
            ("A='b # c' # comment", "b # c"),
            ("A=\"b\\nc\"", "b\nc"),
            ("A='b\\nc'", "b\\nc"),
            ("A=`it's \"so\"`", "it's \"so\""),
            ("A=\"-----BEGIN\nkey\n-----END\"", "-----BEGIN\nkey\n-----END"),
            ("A=\"say \\\"hi\\\"\"", "say \\\"hi\\\""),
            ("A=\"unclosed", "\"unclosed"),
            ("A='a' b", "'a' b"),
            ("A=postgresql://u:p@h:1/d?schema=s", "postgresql://u:p@h:1/d?schema=s"),
        ];
        for (text, value) in table {
            let file = parse(&format!("{text}\nZ=last"));
            let expected = vec![("A".to_owned(), value.to_owned()), ("Z".to_owned(), "last".to_owned())];
            assert_eq!(file, File { variables: expected, odd_lines: vec![] }, "{text:?}");
        }
    }

    #[test]
    fn comments_and_empty_lines_are_nothing_and_others_are_reported() {
        let file = parse("\u{feff}# head\n\n  \t\nA='x\ny'\nnonsense\n=x\nB=1\nexport\n");
        let expected = vec![("A".to_owned(), "x\ny".to_owned()), ("B".to_owned(), "1".to_owned())];
        assert_eq!(file, File { variables: expected, odd_lines: vec![6, 7, 9] });
        assert_eq!(parse(""), File::default());
    }
}
