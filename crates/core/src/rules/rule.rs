//! Rules: one line of text each, held against the name of a file or folder.

use regex::bytes::{Regex, RegexBuilder};

/// What a rule says about the names that it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleVerdict {
    /// The name and all below it are left out.
    Ignore,
    /// The name is taken, whatever later rules say, with a priority of its own if there is one.
    Include {
        /// Served first among equally few copies; `None`: as inherited.
        priority: Option<u32>,
    },
}

/// How names are compared.
#[derive(Debug, Clone)]
enum Pattern {
    Literal(Vec<u8>),
    Regex(Box<Regex>),
}

/// One rule.
///
/// Syntax as in distbackup 1.x: `!`s, blanks, an optional type, a pattern. No `!` ignores; one includes;
/// `k` of them include with priority `k`. Type `:` is a literal name, `?` a glob, `/` a regular expression that
/// is searched anywhere in the name; without a type, what contains `*`, `?` or `[` is a glob, all else a literal.
#[derive(Debug, Clone)]
pub struct Rule {
    text: String,
    verdict: RuleVerdict,
    pattern: Pattern,
}

/// A rule that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("rule {number} `{text}`: {why}")]
pub struct RuleError {
    /// Which, counted from 1.
    pub number: usize,
    /// As it was given.
    pub text: String,
    /// What is wrong, with the place.
    pub why: String,
}

impl Rule {
    /// Reads one rule; `Err` says in words what is wrong with it.
    pub fn parse(text: &str) -> Result<Rule, String> {
        let marked = text.trim_start_matches('!');
        let marks = text.len() - marked.len();
        let verdict = match marks {
            0 => RuleVerdict::Ignore,
            1 => RuleVerdict::Include { priority: None },
            more => RuleVerdict::Include { priority: Some(u32::try_from(more).unwrap_or(u32::MAX)) },
        };
        let body = marked.trim_start();
        let pattern = match body.chars().next() {
            None => return Err("there is no pattern".to_owned()),
            Some(':') => Pattern::Literal(body.as_bytes()[1..].to_vec()),
            Some('?') => glob(&body[1..])?,
            Some('/') => regex(&body[1..])?,
            Some(_) if body.contains(['*', '?', '[']) => glob(body)?,
            Some(_) => Pattern::Literal(body.as_bytes().to_vec()),
        };
        let of_nothing = matches!(body, ":" | "?" | "/");
        if of_nothing {
            return Err(format!("there is no pattern after `{body}`"));
        }
        if matches!(&pattern, Pattern::Literal(name) if name.contains(&b'/')) {
            return Err("a rule is held against names, and no name contains `/`".to_owned());
        }
        Ok(Rule { text: text.to_owned(), verdict, pattern })
    }

    /// Whether it is about this name.
    pub fn matches(&self, name: &[u8]) -> bool {
        match &self.pattern {
            Pattern::Literal(literal) => literal == name,
            Pattern::Regex(regex) => regex.is_match(name),
        }
    }

    /// What it says.
    pub fn verdict(&self) -> RuleVerdict {
        self.verdict
    }

    /// As it was given.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// The rules of one path, in order.
#[derive(Debug, Clone, Default)]
pub struct Rules(Vec<Rule>);

impl Rules {
    /// Reads rules, one text each.
    pub fn parse<T: AsRef<str>>(texts: &[T]) -> Result<Rules, RuleError> {
        let each = texts.iter().zip(1..).map(|(text, number)| {
            let text = text.as_ref();
            Rule::parse(text).map_err(|why| RuleError { number, text: text.to_owned(), why })
        });
        each.collect::<Result<_, _>>().map(Rules)
    }

    /// The first rule that matches a name.
    pub fn first_match(&self, name: &[u8]) -> Option<&Rule> {
        self.0.iter().find(|rule| rule.matches(name))
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.0.iter()
    }
}

/// Bounds what a hostile pattern may cost, in bytes of compiled program.
const REGEX_SIZE_MAX: usize = 1 << 20;

fn compile(pattern: &str) -> Result<Pattern, String> {
    let built = RegexBuilder::new(pattern).size_limit(REGEX_SIZE_MAX).build();
    built.map(|regex| Pattern::Regex(Box::new(regex))).map_err(|error| error.to_string())
}

fn regex(pattern: &str) -> Result<Pattern, String> {
    compile(pattern)
}

/// A glob over the whole name, as `fnmatch(3)` without flags: `*`, `?`, `[set]`, `[!set]`; an unclosed `[` is itself.
///
/// `?` and sets match one character where the name is UTF-8 and one byte where it is not.
fn glob(pattern: &str) -> Result<Pattern, String> {
    const ONE: &str = r"(?:(?s:.)|(?s-u:.))";
    let mut translated = String::from(r"\A");
    let mut rest = pattern;
    while let Some(first) = rest.chars().next() {
        rest = &rest[first.len_utf8()..];
        match first {
            '*' => translated.push_str(r"(?s-u:.)*"),
            '?' => translated.push_str(ONE),
            '[' => match set(rest) {
                Some((translation, after)) => {
                    translated.push_str(&translation);
                    rest = after;
                }
                None => translated.push_str(r"\["),
            },
            other => translated.push_str(&regex::escape(other.encode_utf8(&mut [0; 4]))),
        }
    }
    translated.push_str(r"\z");
    compile(&translated)
}

/// A set of a glob, from behind its `[`: its translation, and what follows it. `None`: it is not closed.
fn set(text: &str) -> Option<(String, &str)> {
    let negated = text.starts_with('!');
    let body = &text[usize::from(negated)..];
    // A `]` that comes first is a member.
    let skip = usize::from(body.starts_with(']'));
    let end = body.get(skip..)?.find(']')? + skip;
    let mut translated = String::from(if negated { "[^" } else { "[" });
    for member in body[..end].chars() {
        if matches!(member, '\\' | '[' | ']' | '^' | '&' | '~') {
            translated.push('\\');
        }
        translated.push(member);
    }
    translated.push(']');
    Some((translated, &body[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(rule: &str, name: &str) -> bool {
        Rule::parse(rule).unwrap().matches(name.as_bytes())
    }

    #[test]
    fn marks_say_what_happens_and_how_urgent_it_is() {
        let verdict = |text: &str| Rule::parse(text).unwrap().verdict();
        assert_eq!(verdict("*.tmp"), RuleVerdict::Ignore);
        assert_eq!(verdict("!*.tmp"), RuleVerdict::Include { priority: None });
        assert_eq!(verdict("!!!  *.raw"), RuleVerdict::Include { priority: Some(3) });
    }

    #[test]
    fn a_type_decides_how_a_name_is_compared() {
        assert!(matches("cache", "cache") && !matches("cache", "caches"));
        assert!(matches(":*.tmp", "*.tmp") && !matches(":*.tmp", "a.tmp"));
        assert!(matches("*.tmp", "a.tmp") && !matches("*.tmp", "a.tmpx"));
        assert!(matches("?*.tmp", "a.tmp"), "a leading ? is the type, as in 1.x");
        assert!(matches("/^a.c$", "abc") && matches("/b", "abc") && !matches("/^b", "abc"));
    }

    #[test]
    fn globs_are_those_of_fnmatch() {
        assert!(matches("a?c", "abc") && matches("a?c", "aéc") && !matches("a?c", "ac"));
        assert!(matches("[ab]*", "bx") && !matches("[ab]*", "cx"));
        assert!(matches("[!ab]*", "cx") && !matches("[!ab]*", "ax"));
        assert!(matches("[a-c]1", "b1") && matches("[]]", "]") && matches("[!]]", "a"));
        assert!(matches("[^a]*", "^x") && !matches("[^a]*", "bx"), "^ is no negation in fnmatch");
        assert!(matches("*[", "a["), "an unclosed set is itself");
        assert!(matches("*{a,b}", "x{a,b}"), "braces mean nothing");
        assert!(matches("*", "two\nlines"));
    }

    #[test]
    fn n12_names_that_are_not_utf_8_can_be_matched() {
        let name = b"caf\xe9.tmp";
        assert!(Rule::parse("*.tmp").unwrap().matches(name));
        assert!(Rule::parse("caf?.tmp").unwrap().matches(name));
        assert!(Rule::parse(r"/(?-u:\xe9)").unwrap().matches(name));
    }

    #[test]
    fn what_cannot_be_understood_is_reported_with_its_place() {
        let error = Rules::parse(&["*.tmp", "/a(b"]).unwrap_err();
        assert_eq!((error.number, error.text.as_str()), (2, "/a(b"));
        assert!(error.why.contains("unclosed group") && error.why.contains('^'), "{error}");
        for empty in ["", "!!", "! ", ":", "/", "!?"] {
            assert!(Rule::parse(empty).unwrap_err().contains("no pattern"), "{empty}");
        }
        assert!(Rule::parse("folder/name").unwrap_err().contains("names"));
        assert!(Rule::parse("/(a{1000}){1000}").is_err(), "an absurd pattern is refused");
    }

    #[test]
    fn the_first_match_counts() {
        let rules = Rules::parse(&["!keep.tmp", "*.tmp"]).unwrap();
        let verdict = |name: &str| rules.first_match(name.as_bytes()).map(Rule::verdict);
        assert_eq!(verdict("keep.tmp"), Some(RuleVerdict::Include { priority: None }));
        assert_eq!(verdict("other.tmp"), Some(RuleVerdict::Ignore));
        assert_eq!(verdict("other"), None);
    }
}
