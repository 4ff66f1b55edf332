//! The raw settings: names with texts, from the process and from a `.env` file.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use super::dotenv;
use super::error::Error;

/// Raw settings. A plain map, so that everything behind it can be tried with any settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The variables of this process: the one place that reads them. Bytes that are not UTF-8 become U+FFFD.
    #[allow(clippy::disallowed_methods, reason = "the one reader of the environment")]
    pub fn of_process() -> Self {
        let lossy = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        Self(std::env::vars_os().map(|(name, value)| (lossy(name), lossy(value))).collect())
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Adds the variables of a `.env` text. Existing variables win; within the text the last one does. Returns the
    /// numbers of the lines that hold no variable.
    pub fn add_dotenv(&mut self, text: &str) -> Vec<usize> {
        let file = dotenv::parse(text);
        let added: BTreeMap<_, _> = file.variables.into_iter().collect();
        for (name, value) in added {
            self.0.entry(name).or_insert(value);
        }
        file.odd_lines
    }

    /// Adds the variables of the file at `path`, if there is one, and tells what should be known about it.
    pub fn add_dotenv_file(&mut self, path: &Path) -> Result<Vec<String>, Error> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(Error::File { path: path.to_owned(), action: "read", source }),
        };
        let odd = self.add_dotenv(&text);
        Ok(odd.into_iter().map(|line| format!("{}: line {line} is not NAME=value", path.display())).collect())
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn existing_variables_win_over_the_file_and_later_lines_over_earlier_ones() {
        let mut environment: Environment = [("A", "process"), ("EMPTY", "")].into_iter().collect();
        let odd = environment.add_dotenv("A=file\nEMPTY=file\nB=1\nB=2\n?");
        assert_eq!(odd, [5]);
        let expected: Environment = [("A", "process"), ("B", "2"), ("EMPTY", "")].into_iter().collect();
        assert_eq!(environment, expected);
    }

    #[test]
    fn the_file_is_optional_and_its_mistakes_are_reported() {
        let mut environment = Environment::default();
        let missing = Path::new(env!("CARGO_MANIFEST_DIR")).join("no such file");
        assert_eq!(environment.add_dotenv_file(&missing).unwrap(), Vec::<String>::new());
        assert!(environment.add_dotenv_file(Path::new(env!("CARGO_MANIFEST_DIR"))).is_err(), "a directory");
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("rustfmt.toml");
        assert_eq!(environment.add_dotenv_file(&manifest).unwrap().len(), 0);
        assert_eq!(environment.get("max_width"), Some("120"));
    }
}
