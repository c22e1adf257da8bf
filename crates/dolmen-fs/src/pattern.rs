//! Patterns that choose files by path, with the meaning that restic gives them.
//!
//! A pattern is compared with the components of an absolute path, one by one:
//!
//! - `*` stands for any characters of a component, `?` for one, `[a-z]` for one of a set, `[^a-z]` for one outside it;
//!   `\` takes the meaning from the next character. This is Go's `filepath.Match`.
//! - `**` as a whole component stands for any number of components, none included.
//! - A pattern that begins with `/` starts at the root, any other at any component.
//! - A match covers everything below it. A `/` at the end makes no difference, and `//`, `.` and `..` are resolved first.
//! - `!` in front cancels the matches of earlier patterns in the list.
//!
//! One difference from restic: only a name fits `*`, whereas restic lets it stand for the empty name of the root too, so
//! that `*/a` fits `/a` and `*` fits `/`.
//!
//! Names are bytes. What is not UTF-8 in them counts as one character for each byte.

use std::iter::Peekable;
use std::ops::RangeInclusive;

/// One pattern, ready to be compared.
#[derive(Debug, Clone)]
pub struct Pattern {
    effect: Effect,
    case: Case,
    components: Vec<Item<Component>>,
}

/// Whether upper and lower case differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Case {
    /// They differ.
    Sensitive,
    /// Each character counts as its lower case in Unicode. Bytes that are not UTF-8 count as they are.
    Insensitive,
}

/// A pattern that has no meaning.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("pattern `{pattern}` {flaw}")]
pub struct PatternError {
    /// The pattern as given, with a replacement for what is not UTF-8.
    pub pattern: String,
    /// What is wrong with it.
    pub flaw: PatternFlaw,
}

/// What is wrong with a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PatternFlaw {
    /// Nothing is left of it without the `!`.
    #[error("is empty")]
    Empty,
    /// A set of characters breaks the rules of Go's `filepath.Match`.
    #[error(
        "has a set `[...]` that is empty, not closed, or lacks an end of a range; `\\` escapes `]`, `-` and `[`"
    )]
    Set,
    /// A `\` is the last character of a component.
    #[error("has a `\\` with nothing behind it to escape")]
    Escape,
}

impl Pattern {
    /// Reads a pattern as the user wrote it.
    pub fn parse(text: &[u8], case: Case) -> Result<Self, PatternError> {
        let error = |flaw| PatternError {
            pattern: String::from_utf8_lossy(text).into_owned(),
            flaw,
        };
        let (effect, path) = match text.strip_prefix(b"!") {
            Some(path) => (Effect::Cancel, path),
            None => (Effect::Match, text),
        };
        if path.is_empty() {
            return Err(error(PatternFlaw::Empty));
        }
        let mut components = Vec::new();
        if !path.starts_with(b"/") {
            components.push(Item::Run);
        }
        for component in resolve(path) {
            components.push(Component::parse(component, case).map_err(error)?);
        }
        components.push(Item::Run);
        Ok(Self {
            effect,
            case,
            components,
        })
    }

    fn matches(&self, path: &[u8]) -> bool {
        items_fit(&self.components, names(path), |component, name| {
            component.fits(name, self.case)
        })
    }

    /// Tells whether some path below `directory`, or all of them, could match.
    fn child_may_match(&self, directory: &[u8]) -> bool {
        let mut names = names(directory);
        for item in &self.components {
            let Item::One(component) = item else {
                return true;
            };
            match names.next() {
                Some(name) if component.fits(name, self.case) => {}
                Some(_) => return false,
                None => return true,
            }
        }
        true
    }
}

/// Patterns in the order in which the user gave them.
#[derive(Debug, Clone, Default)]
pub struct PatternList {
    patterns: Vec<Pattern>,
}

impl PatternList {
    /// Makes a list. Later patterns overrule earlier ones.
    pub fn new(patterns: Vec<Pattern>) -> Self {
        Self { patterns }
    }

    /// Tells whether there is no pattern, so that nothing matches.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Tells whether the last pattern that fits `path`, or a directory above it, is one without `!`.
    ///
    /// `path` is absolute, with `/` between names and neither `.` nor `..` in it. A walk that leaves excluded directories
    /// out never asks about what is below them: there, `!` brings nothing back.
    pub fn matches(&self, path: &[u8]) -> bool {
        let last = self
            .patterns
            .iter()
            .rev()
            .find(|pattern| pattern.matches(path));
        last.is_some_and(|pattern| pattern.effect == Effect::Match)
    }

    /// Tells whether anything below `directory` could match, for a walk that looks for what is included.
    ///
    /// `true` may turn out to be wrong, `false` is certain.
    pub fn child_may_match(&self, directory: &[u8]) -> bool {
        self.patterns
            .iter()
            .fold(false, |may_match, pattern| match pattern.effect {
                Effect::Match => may_match || pattern.child_may_match(directory),
                Effect::Cancel => may_match && !pattern.matches(directory),
            })
    }
}

/// Reads the patterns in an exclude file, one for each line.
///
/// White space around a line is dropped, then empty lines and those that begin with `#`. `$NAME` and `${NAME}` become what
/// `env` answers, or nothing, and `$$` becomes `$`; any other `$` stays.
pub fn parse_exclude_file(text: &[u8], env: &dyn Fn(&str) -> Option<String>) -> Vec<Vec<u8>> {
    let text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
    text.split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .filter(|line| !line.starts_with(b"#"))
        .map(|line| expand(line, env))
        .filter(|pattern| !pattern.is_empty())
        .collect()
}

fn expand(line: &[u8], env: &dyn Fn(&str) -> Option<String>) -> Vec<u8> {
    let mut expanded = Vec::new();
    let mut rest = line;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'$' {
            expanded.push(*byte);
        } else if let Some(after) = after.strip_prefix(b"$") {
            expanded.push(b'$');
            rest = after;
        } else if let Some((name, after)) = split_variable(after) {
            let value = str::from_utf8(name).ok().and_then(env);
            expanded.extend(value.unwrap_or_default().into_bytes());
            rest = after;
        } else {
            expanded.push(b'$');
        }
    }
    expanded
}

/// Splits `NAME` or `{NAME}` off the front.
fn split_variable(text: &[u8]) -> Option<(&[u8], &[u8])> {
    if let Some(text) = text.strip_prefix(b"{") {
        let (name, end) = text.split_at_checked(text.iter().position(|byte| *byte == b'}')?)?;
        return Some((name, end.strip_prefix(b"}")?));
    }
    let is_name = |byte: &&u8| byte.is_ascii_alphanumeric() || **byte == b'_';
    let name_bytes = text.iter().take_while(is_name).count();
    text.split_at_checked(name_bytes)
        .filter(|(name, _)| !name.is_empty())
}

/// What a pattern does to a path that it fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    Match,
    Cancel,
}

/// Part of a pattern: of the components of a path, or of the symbols of a component.
#[derive(Debug, Clone)]
enum Item<T> {
    /// Fits any number of elements, none included.
    Run,
    /// Fits one element.
    One(T),
}

/// Tells whether `items` fit the whole of `input`.
///
/// When an item does not fit, only the last run before it is made longer. To change an earlier run as well would be of no
/// use, for whatever lies between the two has been found at its earliest place. Hence at most one comparison for each pair
/// of an item and an element, and never the exponential time of trying every way.
fn items_fit<T, I>(items: &[Item<T>], input: I, fits: impl Fn(&T, I::Item) -> bool) -> bool
where
    I: Iterator + Clone,
{
    let (mut items, mut input) = (items, input);
    // What follows the last run, and the input that the run has not taken.
    let mut last_run: Option<(&[Item<T>], I)> = None;
    loop {
        let is_fitting = match items.split_first() {
            // Nothing after it can fail, and the rest of the input need not be read.
            Some((Item::Run, [])) => return true,
            Some((Item::Run, after)) => {
                last_run = Some((after, input.clone()));
                items = after;
                true
            }
            Some((Item::One(item), after)) => {
                items = after;
                input.next().is_some_and(|element| fits(item, element))
            }
            None if input.next().is_none() => return true,
            None => false,
        };
        if !is_fitting {
            let Some((after, untaken)) = &mut last_run else {
                return false;
            };
            if untaken.next().is_none() {
                return false;
            }
            (items, input) = (after, untaken.clone());
        }
    }
}

/// The names in an absolute path.
fn names(path: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    path.split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty())
}

/// Resolves `//`, `.` and `..` as Go's `filepath.Clean` does.
///
/// A `..` that leads out of the pattern stays, as does a `.` if nothing else is left. They fit no name.
fn resolve(path: &[u8]) -> Vec<&[u8]> {
    let is_anchored = path.starts_with(b"/");
    let mut components: Vec<&[u8]> = Vec::new();
    for component in names(path) {
        match component {
            b"." => {}
            b".." if components.last().is_some_and(|last| *last != b"..") => {
                components.pop();
            }
            b".." if is_anchored => {}
            _ => components.push(component),
        }
    }
    if components.is_empty() && !is_anchored {
        components.push(b".");
    }
    components
}

/// What fits one name.
#[derive(Debug, Clone)]
enum Component {
    /// These bytes and no others. Case-sensitive patterns without wildcards are the most common and the fastest.
    Exact(Vec<u8>),
    Symbols(Vec<Item<SymbolSet>>),
}

impl Component {
    fn parse(component: &[u8], case: Case) -> Result<Item<Self>, PatternFlaw> {
        if component == b"**" {
            return Ok(Item::Run);
        }
        let is_special = component.iter().any(|byte| b"*?[\\".contains(byte));
        if case == Case::Sensitive && !is_special {
            return Ok(Item::One(Self::Exact(component.to_vec())));
        }
        let mut symbols = Symbols {
            rest: component,
            case,
        }
        .peekable();
        let mut items = Vec::new();
        while let Some(symbol) = symbols.next() {
            items.push(match symbol {
                Symbol::Char('*') => Item::Run,
                Symbol::Char('?') => Item::One(SymbolSet::All),
                Symbol::Char('[') => Item::One(SymbolSet::parse(&mut symbols)?),
                Symbol::Char('\\') => {
                    Item::One(SymbolSet::Exact(symbols.next().ok_or(PatternFlaw::Escape)?))
                }
                Symbol::Char(_) | Symbol::Byte(_) => Item::One(SymbolSet::Exact(symbol)),
            });
        }
        Ok(Item::One(Self::Symbols(items)))
    }

    fn fits(&self, name: &[u8], case: Case) -> bool {
        match self {
            Self::Exact(exact) => exact == name,
            Self::Symbols(items) => items_fit(items, Symbols { rest: name, case }, SymbolSet::fits),
        }
    }
}

/// What fits one symbol.
#[derive(Debug, Clone)]
enum SymbolSet {
    All,
    Exact(Symbol),
    In(Vec<RangeInclusive<Symbol>>),
    NotIn(Vec<RangeInclusive<Symbol>>),
}

impl SymbolSet {
    /// Reads what follows a `[`, its `]` included.
    fn parse(symbols: &mut Peekable<Symbols<'_>>) -> Result<Self, PatternFlaw> {
        let is_negated = symbols.next_if_eq(&Symbol::Char('^')).is_some();
        let mut ranges = Vec::new();
        while ranges.is_empty() || symbols.next_if_eq(&Symbol::Char(']')).is_none() {
            let first = Self::parse_end(symbols)?;
            let last = match symbols.next_if_eq(&Symbol::Char('-')) {
                Some(_) => Self::parse_end(symbols)?,
                None => first,
            };
            ranges.push(first..=last);
        }
        Ok(if is_negated {
            Self::NotIn(ranges)
        } else {
            Self::In(ranges)
        })
    }

    fn parse_end(symbols: &mut Peekable<Symbols<'_>>) -> Result<Symbol, PatternFlaw> {
        match symbols.next() {
            None | Some(Symbol::Char('-' | ']')) => Err(PatternFlaw::Set),
            Some(Symbol::Char('\\')) => symbols.next().ok_or(PatternFlaw::Set),
            Some(symbol) => Ok(symbol),
        }
    }

    fn fits(&self, symbol: Symbol) -> bool {
        let is_in = |ranges: &[RangeInclusive<Symbol>]| ranges.iter().any(|r| r.contains(&symbol));
        match self {
            Self::All => true,
            Self::Exact(exact) => *exact == symbol,
            Self::In(ranges) => is_in(ranges),
            Self::NotIn(ranges) => !is_in(ranges),
        }
    }
}

/// A character of a name, or a byte where the name is not UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Symbol {
    Char(char),
    Byte(u8),
}

/// The symbols of a name, in lower case if case makes no difference.
#[derive(Clone)]
struct Symbols<'a> {
    rest: &'a [u8],
    case: Case,
}

impl Iterator for Symbols<'_> {
    type Item = Symbol;

    fn next(&mut self) -> Option<Symbol> {
        let (byte, after_byte) = self.rest.split_first()?;
        // No character is longer than four bytes.
        let front = self.rest.get(..4).unwrap_or(self.rest);
        let character = front
            .utf8_chunks()
            .next()
            .and_then(|chunk| chunk.valid().chars().next());
        let Some(character) = character else {
            self.rest = after_byte;
            return Some(Symbol::Byte(*byte));
        };
        self.rest = self.rest.get(character.len_utf8()..).unwrap_or_default();
        Some(Symbol::Char(match self.case {
            Case::Sensitive => character,
            // One character for each one. Only `İ` has a lower case of two, and the second is a mark on the first.
            Case::Insensitive => character.to_lowercase().next().unwrap_or(character),
        }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list_of(patterns: &[&str], case: Case) -> PatternList {
        PatternList::new(
            patterns
                .iter()
                .map(|text| Pattern::parse(text.as_bytes(), case).unwrap())
                .collect(),
        )
    }

    fn matches(pattern: &str, path: &str) -> bool {
        list_of(&[pattern], Case::Sensitive).matches(path.as_bytes())
    }

    #[test]
    fn patterns_fit_the_paths_that_they_should() {
        let table: [(&str, &[&str], &[&str]); 36] = [
            // The examples of restic's manual.
            (
                "foo",
                &["/dir1/foo/dir2/file", "/dir/foo"],
                &["/dir/foobar", "/barfoo"],
            ),
            ("/bin", &["/bin/bash", "/bin"], &["/usr/bin/restic"]),
            ("b*ash", &["/bin/bash"], &["/bin/ash"]),
            (
                "foo/**/bar",
                &["/dir1/foo/dir2/bar/file", "/foo/bar/file", "/tmp/foo/bar"],
                &["/foo"],
            ),
            (
                "foo/**/bar",
                &["/foo/x/y/z/bar", "/foo/x/bar"],
                &["/bar/foo", "/foo/xbar", "/xfoo/bar"],
            ),
            (
                "*.go",
                &["/home/user/file.go", "/a.go/b"],
                &["/home/user/file.go2", "/home/user/go"],
            ),
            (
                "/home/[uU]ser/?.go",
                &["/home/user/F.go", "/home/User/x.go"],
                &["/home/xser/F.go", "/home/user/FF.go"],
            ),
            // Where a pattern starts and ends.
            ("/foo", &["/foo", "/foo/y"], &["/x/foo", "/foox", "/"]),
            ("foo/", &["/foo", "/x/foo/y"], &["/x/foobar"]),
            ("/foo//./bar/", &["/foo/bar"], &["/foo"]),
            ("/foo/../bar", &["/bar", "/bar/x"], &["/foo/bar"]),
            (
                "foo/*bar",
                &["/foo/bar", "/x/foo/xbar/y"],
                &["/foo/x/bar", "/foo", "/foo/barx"],
            ),
            ("a/b", &["/a/b", "/x/a/b/c"], &["/a/x/b", "/a", "/b"]),
            ("a/a/b", &["/a/a/a/b", "/a/a/b"], &["/a/b"]),
            // A resolved pattern that names nothing.
            (".", &[], &["/", "/a", "/.a"]),
            ("../a", &[], &["/a", "/b/a"]),
            // `*` and `?` stay within a name.
            ("/*", &["/a", "/a/b"], &["/"]),
            ("/foo/*", &["/foo/x", "/foo/x/y"], &["/foo"]),
            ("/*/b", &["/a/b", "/a/b/c"], &["/b", "/a/x/b"]),
            ("?", &["/a", "/xx/a", "/é", "/x/日"], &["/", "/ab"]),
            (
                "a*b*c",
                &["/abc", "/axbxc", "/abbcc", "/abcbc"],
                &["/acb", "/ab", "/abcd"],
            ),
            ("a**c", &["/ac", "/abbc"], &["/a/c"]),
            // `**` spans names.
            ("**", &["/", "/a", "/a/b"], &[]),
            ("**/x", &["/x", "/a/x", "/a/b/x", "/a/x/b"], &["/a", "/ax"]),
            ("/**/x", &["/x", "/a/b/x"], &["/a/b"]),
            ("/a/**", &["/a", "/a/b", "/a/b/c"], &["/b", "/x/a"]),
            (
                "/a/**/b",
                &["/a/b", "/a/x/b", "/a/x/y/b/c"],
                &["/a/x", "/x/a/b"],
            ),
            (
                "/a/**/b/**/c",
                &["/a/b/c", "/a/b/x/c", "/a/x/b/b/c"],
                &["/a/c/b", "/a/b"],
            ),
            // Sets.
            ("[ab]", &["/a", "/x/b"], &["/c", "/ab"]),
            ("[^ab]", &["/c", "/é"], &["/a", "/b", "/", "/cc"]),
            ("[a-cx-z]1", &["/b1", "/y1"], &["/d1", "/-1", "/1"]),
            ("[!a]", &["/!", "/a"], &["/b"]),
            ("[*?[]x", &["/*x", "/?x", "/[x"], &["/ax", "/x"]),
            // Escapes.
            (r"\*\?\[a\\", &[r"/*?[a\"], &["/a", r"/x?[a\"]),
            (r"[\]\-\\^]", &["/]", "/-", r"/\", "/^"], &["/a"]),
            (r"a]", &["/a]"], &["/a"]),
        ];
        for (pattern, fitting, others) in table {
            for path in fitting {
                assert!(matches(pattern, path), "{pattern} fits {path}");
            }
            for path in others {
                assert!(!matches(pattern, path), "{pattern} does not fit {path}");
            }
        }
    }

    #[test]
    fn a_bad_pattern_is_an_error_that_names_it() {
        let table = [
            ("", "pattern `` is empty"),
            ("!", "pattern `!` is empty"),
            (
                r"x/a\",
                r"pattern `x/a\` has a `\` with nothing behind it to escape",
            ),
            (
                "test/**/[",
                r"pattern `test/**/[` has a set `[...]` that is empty, not closed, or lacks an end of a range; `\` escapes `]`, `-` and `[`",
            ),
        ];
        for (pattern, message) in table {
            let error = Pattern::parse(pattern.as_bytes(), Case::Sensitive).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
        for pattern in [
            "[]", "[]a]", "[^]", "[a", "[a-", "[a-]", "[-a]", r"[\", r"[a\]", "[a/b]",
        ] {
            let error = Pattern::parse(pattern.as_bytes(), Case::Sensitive).unwrap_err();
            assert_eq!(error.flaw, PatternFlaw::Set, "{pattern}");
        }
    }

    #[test]
    fn the_last_fitting_pattern_decides() {
        // The example of restic's manual.
        let home = list_of(
            &[
                "/home/u/*",
                "!/home/u/Documents",
                "!/home/u/code",
                "node_modules",
                "*~",
            ],
            Case::Sensitive,
        );
        assert!(!home.matches(b"/home/u"));
        assert!(home.matches(b"/home/u/Music"));
        assert!(!home.matches(b"/home/u/Documents/letter"));
        assert!(home.matches(b"/home/u/Documents/letter~"));
        assert!(home.matches(b"/home/u/code/x/node_modules/y"));
        assert!(!home.matches(b"/home/other"));

        assert!(!list_of(&["!a"], Case::Sensitive).matches(b"/a"));
        assert!(!list_of(&["!a"], Case::Sensitive).matches(b"/b"));
        assert!(list_of(&["a", "!b", "b"], Case::Sensitive).matches(b"/b"));
        assert!(list_of(&[r"\!a"], Case::Sensitive).matches(b"/!a"));
        assert!(!PatternList::default().matches(b"/a"));
    }

    #[test]
    fn a_walk_goes_where_something_could_match() {
        let table: [(&[&str], &[&str], &[&str]); 9] = [
            (&["foo/bar"], &["/", "/x", "/foo"], &[]),
            (
                &["/a/b/c"],
                &["/", "/a", "/a/b", "/a/b/c", "/a/b/c/d"],
                &["/b", "/a/c", "/a/b/x", "/a/b/x/c"],
            ),
            (
                &["/a/*/c"],
                &["/a", "/a/x", "/a/x/c"],
                &["/b", "/a/x/d", "/a/x/d/c"],
            ),
            (
                &["/a/**/c"],
                &["/a", "/a/x", "/a/x/d", "/a/c/y"],
                &["/b", "/b/c"],
            ),
            (&["/**"], &["/", "/a"], &[]),
            (&["/*"], &["/", "/a", "/a/b"], &[]),
            (&["/a/b", "/c"], &["/", "/a", "/c"], &["/d", "/a/c"]),
            (
                &["/a", "!/a/b", "/a/b/c"],
                &["/a", "/a/b", "/a/b/c", "/a/x"],
                &["/b"],
            ),
            (&["/a", "!/a/b"], &["/", "/a", "/a/x"], &["/a/b", "/a/b/c"]),
        ];
        for (patterns, worthwhile, useless) in table {
            let list = list_of(patterns, Case::Sensitive);
            for directory in worthwhile {
                assert!(
                    list.child_may_match(directory.as_bytes()),
                    "{patterns:?} in {directory}"
                );
            }
            for directory in useless {
                assert!(
                    !list.child_may_match(directory.as_bytes()),
                    "{patterns:?} in {directory}"
                );
            }
        }
        assert!(!PatternList::default().child_may_match(b"/"));
    }

    #[test]
    fn case_makes_no_difference_where_it_should_not() {
        for pattern in ["*.JPG", "*.jpg", "*.[I-K]Pg", "/HOME/**/[^x].jpG"] {
            let list = list_of(&[pattern], Case::Insensitive);
            assert!(
                list.matches(b"/home/A.JPG") && list.matches(b"/Home/b.jpg"),
                "{pattern}"
            );
        }
        assert!(list_of(&["ÄRGER"], Case::Insensitive).matches("/ärger".as_bytes()));
        assert!(list_of(&["i"], Case::Insensitive).matches("/İ".as_bytes()));
        assert!(!list_of(&["*.JPG"], Case::Sensitive).matches(b"/a.jpg"));
    }

    #[test]
    fn names_need_not_be_utf8() {
        let list =
            |pattern: &[u8], case| PatternList::new(vec![Pattern::parse(pattern, case).unwrap()]);
        for case in [Case::Sensitive, Case::Insensitive] {
            assert!(list(b"a\xff*", case).matches(b"/a\xffb"));
            assert!(!list(b"a\xff*", case).matches(b"/a\xfeb"));
            assert!(list(b"a?b", case).matches(b"/a\xffb"));
            assert!(!list(b"a?b", case).matches(b"/a\xff\xffb"));
            // The beginning of a character of three bytes, cut short.
            assert!(list(b"a??b", case).matches(b"/a\xe2\x82b"));
            assert!(list(b"[\xf0-\xff]", case).matches(b"/\xf8"));
            assert!(list(b"[^a]", case).matches(b"/\xf8"));
            assert!(list(b"\xff", case).matches(b"/\xff"));
        }
    }

    #[test]
    fn many_wildcards_take_no_exponential_time() {
        assert!(!matches(
            &"*a".repeat(100),
            &format!("/{}b", "a".repeat(250))
        ));
        let path = "/a".repeat(1000);
        assert!(!matches(&format!("{}b", "**/a/".repeat(100)), &path));
    }

    #[test]
    fn an_exclude_file_is_trimmed_and_expanded() {
        let env = |name: &str| match name {
            "HOME" => Some("/home/u".to_owned()),
            "A_1" => Some("$HOME".to_owned()),
            _ => None,
        };
        let text = b"\xEF\xBB\xBF# comment\n\n  \t\r\n  *.go  \r\n # indented comment\n$HOME/x\n${HOME}x\n\
            $A_1/y\n$$HOME\n$UNSET/z\n$UNSET\na$\na$.b\n${open\n\xff$HOME\n!foo bar #1";
        let patterns = parse_exclude_file(text, &env);
        let expected: [&[u8]; 11] = [
            b"*.go",
            b"/home/u/x",
            b"/home/ux",
            b"$HOME/y",
            b"$HOME",
            b"/z",
            b"a$",
            b"a$.b",
            b"${open",
            b"\xff/home/u",
            b"!foo bar #1",
        ];
        assert_eq!(patterns, expected);
    }

    /// Every way of fitting, tried one after the other.
    fn fits_by_trying(items: &[Item<char>], input: &[char]) -> bool {
        match items {
            [] => input.is_empty(),
            [Item::Run, after @ ..] => {
                (0..=input.len()).any(|taken| fits_by_trying(after, &input[taken..]))
            }
            [Item::One(one), after @ ..] => {
                input.first() == Some(one) && fits_by_trying(after, &input[1..])
            }
        }
    }

    proptest! {
        #[test]
        fn fitting_finds_what_trying_every_way_finds(pattern in "[ab*]{0,8}", text in "[ab]{0,10}") {
            let items: Vec<_> =
                pattern.chars().map(|c| if c == '*' { Item::Run } else { Item::One(c) }).collect();
            let text: Vec<char> = text.chars().collect();
            let found = items_fit(&items, text.iter(), |one, c| one == c);
            prop_assert_eq!(found, fits_by_trying(&items, &text));
        }

        #[test]
        fn a_directory_above_a_match_is_worth_a_look(
            pattern in "!?/?([ab*]|\\*\\*)(/([ab*]|\\*\\*)){0,3}",
            path in "(/[ab]){1,5}",
        ) {
            let list = list_of(&["/a", &pattern, "/b/*"], Case::Sensitive);
            if list.matches(path.as_bytes()) {
                let above = path.rsplit_once('/').map_or("", |(above, _)| above);
                prop_assert!(list.child_may_match(above.as_bytes()));
            }
        }

        #[test]
        fn any_bytes_are_a_pattern_or_an_error(
            pattern in prop::collection::vec(any::<u8>(), 0..20),
            path in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            for case in [Case::Sensitive, Case::Insensitive] {
                if let Ok(pattern) = Pattern::parse(&pattern, case) {
                    let list = PatternList::new(vec![pattern]);
                    prop_assert!(!list.matches(&path) || list.child_may_match(&path));
                }
            }
        }
    }
}
