//! Just enough of Rust's grammar to see which paths a file uses: words, texts and signs, without
//! comments and without test code.

use std::path::{Path, PathBuf};

/// Where a file stands in its crate.
pub struct Place {
    /// Its path below `src`.
    pub file: PathBuf,
    /// Names of the modules that lead to it; empty for the crate's root.
    pub module: Vec<String>,
}

impl Place {
    /// The place of a path below `src`.
    pub fn of(file: &Path) -> Place {
        let mut module: Vec<String> =
            file.with_extension("").iter().map(|part| part.to_str().unwrap().to_owned()).collect();
        if module.last().is_some_and(|last| last == "mod") {
            module.pop();
        }
        if module.len() == 1 && (module[0] == "lib" || module[0] == "main") {
            module.clear();
        }
        Place { file: file.to_path_buf(), module }
    }
}

/// A path that the code names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Where it starts: `crate`, `distbackup_core`, `distbackup_engine` or `std`.
    pub root: String,
    /// What follows; `self` and `super` are resolved, and a final `*` or `self` is dropped.
    pub path: Vec<String>,
    /// Line, from 1.
    pub line: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Text(String),
    Sign(char),
    /// `::`
    Path,
}

/// A file without comments and test code.
pub struct Source {
    tokens: Vec<(usize, Token)>,
    /// Lines of the whole file.
    pub lines: usize,
    /// Modules in files of their own that exist for tests only.
    pub test_modules: Vec<String>,
}

impl Source {
    /// Reads the text of a file.
    pub fn read(text: &str) -> Source {
        let mut source =
            Source { tokens: tokens(text), lines: text.lines().count(), test_modules: Vec::new() };
        source.drop_tests();
        source
    }

    /// All words with their lines.
    pub fn words(&self) -> impl Iterator<Item = (usize, &str)> {
        self.tokens.iter().filter_map(|(line, token)| match token {
            Token::Word(word) => Some((*line, word.as_str())),
            _ => None,
        })
    }

    /// All string literals with the lines they begin on.
    pub fn texts(&self) -> impl Iterator<Item = (usize, &str)> {
        self.tokens.iter().filter_map(|(line, token)| match token {
            Token::Text(text) => Some((*line, text.as_str())),
            _ => None,
        })
    }

    /// All macros that are called, with their lines.
    pub fn macros(&self) -> impl Iterator<Item = (usize, &str)> {
        self.tokens.windows(2).filter_map(|pair| match pair {
            [(line, Token::Word(word)), (_, Token::Sign('!'))] => Some((*line, word.as_str())),
            _ => None,
        })
    }

    /// All paths that begin in one of our crates or in `std`, as seen from `module`.
    pub fn references(&self, module: &[String]) -> Vec<Reference> {
        let mut found = Vec::new();
        let mut here = module.to_vec();
        // For each open brace, whether it closes a module.
        let mut braces: Vec<bool> = Vec::new();
        let mut at = 0;
        while at < self.tokens.len() {
            match self.token(at) {
                Some(Token::Sign('{')) => {
                    let opens = at >= 2 && self.is_word(at - 2, "mod");
                    if let (true, Some(Token::Word(name))) = (opens, self.token(at - 1)) {
                        here.push(name.clone());
                    }
                    braces.push(opens);
                }
                Some(Token::Sign('}')) => {
                    let closes_module = braces.pop() == Some(true);
                    here.truncate(here.len() - usize::from(closes_module));
                }
                Some(Token::Word(word))
                    if self.token(at + 1) == Some(&Token::Path) && !self.is_inside_path(at) =>
                {
                    let start = match word.as_str() {
                        "crate" => Some(("crate", Vec::new())),
                        "self" => Some(("crate", here.clone())),
                        "super" => Some(("crate", here[..here.len().saturating_sub(1)].to_vec())),
                        "std" | "distbackup_core" | "distbackup_engine" => Some((word.as_str(), Vec::new())),
                        _ => None,
                    };
                    if let Some((root, path)) = start {
                        at = self.tree(at + 2, root, path, &mut found);
                        continue;
                    }
                }
                _ => {}
            }
            at += 1;
        }
        found
    }

    /// Reads what follows a `::` at `at`, which may be a whole tree in braces; returns what comes next.
    fn tree(&self, at: usize, root: &str, mut path: Vec<String>, found: &mut Vec<Reference>) -> usize {
        let line = self.tokens.get(at).map_or(0, |(line, _)| *line);
        match self.token(at) {
            Some(Token::Word(word)) => {
                match word.as_str() {
                    "super" => drop(path.pop()),
                    "self" => {}
                    word => path.push(word.to_owned()),
                }
                if self.token(at + 1) == Some(&Token::Path) {
                    return self.tree(at + 2, root, path, found);
                }
                found.push(Reference { root: root.to_owned(), path, line });
                at + 1
            }
            Some(Token::Sign('{')) => {
                let mut next = at + 1;
                while !matches!(self.token(next), None | Some(Token::Sign('}'))) {
                    let after = self.tree(next, root, path.clone(), found);
                    // Steps over commas and `as name`, and never stands still.
                    next = after.max(next + 1);
                    while !matches!(self.token(next), None | Some(Token::Sign(',' | '}'))) {
                        next += 1;
                    }
                    if self.token(next) == Some(&Token::Sign(',')) {
                        next += 1;
                    }
                }
                next + 1
            }
            // `*`, or generic arguments after a turbofish.
            _ => {
                found.push(Reference { root: root.to_owned(), path, line });
                at
            }
        }
    }

    /// Removes items under `#[cfg(test)]` or `#[cfg(all(test, …))]`, and remembers modules in other files.
    fn drop_tests(&mut self) {
        let mut kept = Vec::new();
        let mut at = 0;
        while at < self.tokens.len() {
            if self.is_test_attribute(at) {
                let (name, end) = self.item(at);
                self.test_modules.extend(name);
                at = end;
            } else {
                kept.push(self.tokens[at].clone());
                at += 1;
            }
        }
        self.tokens = kept;
    }

    fn is_test_attribute(&self, at: usize) -> bool {
        let sign = |at, sign| self.token(at) == Some(&Token::Sign(sign));
        if !(sign(at, '#') && sign(at + 1, '[') && self.is_word(at + 2, "cfg") && sign(at + 3, '(')) {
            return false;
        }
        self.is_word(at + 4, "test") || (self.is_word(at + 4, "all") && self.is_word(at + 6, "test"))
    }

    /// The end of the item whose attributes begin at `at`; and its name, if it is a module elsewhere.
    fn item(&self, mut at: usize) -> (Option<String>, usize) {
        while self.token(at) == Some(&Token::Sign('#')) {
            at = self.closing(at + 1) + 1;
        }
        let first = at;
        let item_words = [
            "pub",
            "fn",
            "mod",
            "use",
            "impl",
            "struct",
            "enum",
            "const",
            "static",
            "type",
            "trait",
            "unsafe",
            "async",
            "extern",
            "macro_rules",
        ];
        let is_item = item_words.iter().any(|word| self.is_word(first, word));
        loop {
            match self.token(at) {
                None => return (None, at),
                Some(Token::Sign('(' | '[')) => at = self.closing(at) + 1,
                Some(Token::Sign('{')) => {
                    at = self.closing(at) + 1;
                    // `use a::{b};` and `const A: T = T { … };` go on after the brace.
                    if self.token(at) != Some(&Token::Sign(';')) {
                        return (None, at);
                    }
                }
                Some(Token::Sign(';')) => {
                    let name = match (self.token(at.wrapping_sub(2)), self.token(at.wrapping_sub(1))) {
                        (Some(Token::Word(word)), Some(Token::Word(name))) if word == "mod" => {
                            Some(name.clone())
                        }
                        _ => None,
                    };
                    return (name, at + 1);
                }
                // A field or a variant ends with its comma, or with what it stands in.
                Some(Token::Sign(',')) if !is_item => return (None, at + 1),
                Some(Token::Sign('}')) => return (None, at),
                _ => at += 1,
            }
        }
    }

    /// Where the bracket at `at` is closed.
    fn closing(&self, at: usize) -> usize {
        let mut depth = 0_usize;
        for next in at..self.tokens.len() {
            match self.token(next) {
                Some(Token::Sign('(' | '[' | '{')) => depth += 1,
                Some(Token::Sign(')' | ']' | '}')) => {
                    depth -= 1;
                    if depth == 0 {
                        return next;
                    }
                }
                _ => {}
            }
        }
        self.tokens.len()
    }

    fn token(&self, at: usize) -> Option<&Token> {
        self.tokens.get(at).map(|(_, token)| token)
    }

    fn is_word(&self, at: usize, word: &str) -> bool {
        matches!(self.token(at), Some(Token::Word(found)) if found == word)
    }

    fn is_inside_path(&self, at: usize) -> bool {
        at > 0 && self.token(at - 1) == Some(&Token::Path)
    }
}

/// Cuts a text into tokens with their lines; comments, characters and numbers leave none.
fn tokens(text: &str) -> Vec<(usize, Token)> {
    let chars: Vec<char> = text.chars().collect();
    let peek = |at: usize| chars.get(at).copied().unwrap_or('\0');
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < chars.len() {
        let start = (at, line);
        match chars[at] {
            '/' if peek(at + 1) == '/' => {
                while at < chars.len() && chars[at] != '\n' {
                    at += 1;
                }
            }
            '/' if peek(at + 1) == '*' => {
                let mut depth = 0;
                loop {
                    match (peek(at), peek(at + 1)) {
                        ('/', '*') => (depth, at) = (depth + 1, at + 2),
                        ('*', '/') => (depth, at) = (depth - 1, at + 2),
                        _ => at += 1,
                    }
                    if depth == 0 || at >= chars.len() {
                        break;
                    }
                }
            }
            '"' => {
                at += 1;
                while at < chars.len() && chars[at] != '"' {
                    at += if chars[at] == '\\' { 2 } else { 1 };
                }
                at += 1;
                let inner = &chars[start.0 + 1..(at - 1).min(chars.len())];
                found.push((line, Token::Text(inner.iter().collect())));
            }
            '\'' => {
                // A lifetime has no closing quote; a character has one after one character or an escape.
                if peek(at + 1) == '\\' {
                    at += 3;
                    while at < chars.len() && chars[at] != '\'' {
                        at += 1;
                    }
                    at += 1;
                } else if peek(at + 2) == '\'' {
                    at += 3;
                } else {
                    at += 1;
                }
            }
            c if is_word(c) => {
                while is_word(peek(at)) {
                    at += 1;
                }
                let word: String = chars[start.0..at].iter().collect();
                let raw = matches!(word.as_str(), "r" | "br" | "cr");
                let hashes = (at..).take_while(|&next| peek(next) == '#').count();
                if raw && peek(at + hashes) == '"' {
                    let closing: String =
                        std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
                    let rest: String = chars[at + hashes + 1..].iter().collect();
                    let end = rest.find(&closing).unwrap_or(rest.len());
                    at += hashes + 1 + rest[..end].chars().count() + closing.len();
                    found.push((line, Token::Text(rest[..end].to_owned())));
                } else if raw && hashes == 1 {
                    // A raw identifier: the word itself follows.
                    at += 1;
                } else if word.len() == 1 && peek(at) == '"' {
                    // The prefix of `b"…"` or `c"…"`.
                } else if !word.starts_with(|c: char| c.is_ascii_digit()) {
                    found.push((line, Token::Word(word)));
                }
            }
            ':' if peek(at + 1) == ':' => {
                at += 2;
                found.push((line, Token::Path));
            }
            c if c.is_whitespace() => at += 1,
            c => {
                at += 1;
                found.push((line, Token::Sign(c)));
            }
        }
        let end = at.min(chars.len());
        line += chars[start.0..end].iter().filter(|&&c| c == '\n').count();
    }
    found
}
