//! Text → tokens, each with its byte offset (FHIRPath N1, grammar, lexical rules).

use rust_decimal::Decimal;

use super::error::SyntaxError;
use super::temporal::{Date, DateTime, Time};

/// A token of an expression.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// An identifier or keyword: which one, the grammar decides by its place.
    Word(String),
    /// `` `div` ``: never a keyword.
    Delimited(String),
    String(String),
    Integer(i64),
    Decimal(Decimal),
    Date(Date),
    DateTime(DateTime),
    Time(Time),
    /// `$this`, without the dollar sign.
    Dollar(String),
    /// An operator or bracket.
    Symbol(&'static str),
    End,
}

/// Longest first, so that `<=` is not read as `<`.
const SYMBOLS: [&str; 23] = [
    "!=", "!~", "<=", ">=", "<", ">", "=", "~", "(", ")", "[", "]", "{", "}", ".", ",", "+", "-", "*", "/", "|", "&",
    "%",
];

/// The tokens of `text`; the last is [`Token::End`].
pub(super) fn tokens(text: &str) -> Result<Vec<(Token, usize)>, SyntaxError> {
    let mut lexer = Lexer { text, at: 0 };
    let mut tokens = Vec::new();
    loop {
        lexer.skip_space()?;
        let offset = lexer.at;
        let token = lexer.token()?;
        let ended = token == Token::End;
        tokens.push((token, offset));
        if ended {
            return Ok(tokens);
        }
    }
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Lexer<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn fail<T>(&self, offset: usize, what: &str) -> Result<T, SyntaxError> {
        Err(SyntaxError::new(offset, what))
    }

    /// White space and comments.
    fn skip_space(&mut self) -> Result<(), SyntaxError> {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start();
            self.at += rest.len() - trimmed.len();
            if trimmed.starts_with("//") {
                self.at += trimmed.find(['\n', '\r']).unwrap_or(trimmed.len());
            } else if let Some(comment) = trimmed.strip_prefix("/*") {
                match comment.find("*/") {
                    Some(end) => self.at += end + 4,
                    None => return self.fail(self.at, "the comment is not closed; end it with */"),
                }
            } else {
                return Ok(());
            }
        }
    }

    fn token(&mut self) -> Result<Token, SyntaxError> {
        let rest = self.rest();
        match rest.bytes().next() {
            None => Ok(Token::End),
            Some(b'\'') => self.quoted('\'').map(Token::String),
            Some(b'"') => self.quoted('"').map(Token::String),
            Some(b'`') => self.quoted('`').map(Token::Delimited),
            Some(b'@') => self.temporal(),
            Some(b'0'..=b'9') => self.number(),
            Some(b'$') => {
                self.at += 1;
                Ok(Token::Dollar(self.word()))
            }
            Some(b'A'..=b'Z' | b'a'..=b'z' | b'_') => Ok(Token::Word(self.word())),
            Some(_) => self.symbol(),
        }
    }

    fn symbol(&mut self) -> Result<Token, SyntaxError> {
        let rest = self.rest();
        match SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
            Some(symbol) => {
                self.at += symbol.len();
                Ok(Token::Symbol(symbol))
            }
            None => self.fail(self.at, "this character has no meaning in an expression"),
        }
    }

    /// The longest run of letters, digits and underscores.
    fn word(&mut self) -> String {
        self.take(|byte| byte.is_ascii_alphanumeric() || byte == b'_').to_owned()
    }

    fn take(&mut self, belongs: impl Fn(u8) -> bool) -> &'t str {
        let rest = self.rest();
        let length = rest.bytes().position(|byte| !belongs(byte)).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    fn digits(&mut self) -> &'t str {
        self.take(|byte| byte.is_ascii_digit())
    }

    fn number(&mut self) -> Result<Token, SyntaxError> {
        let start = self.at;
        self.digits();
        let rest = self.rest().as_bytes();
        if rest.first() == Some(&b'.') && rest.get(1).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
            self.digits();
            return match self.text[start..self.at].parse() {
                Ok(decimal) => Ok(Token::Decimal(decimal)),
                Err(_) => self.fail(start, "the number has more than 28 digits"),
            };
        }
        match self.text[start..self.at].parse() {
            Ok(integer) => Ok(Token::Integer(integer)),
            Err(_) => self.fail(start, "the integer does not fit in 64 bits"),
        }
    }

    /// `@2015-02-04T14:34:28.123+10:00`, `@2015T`, `@T14:34`.
    fn temporal(&mut self) -> Result<Token, SyntaxError> {
        let start = self.at;
        self.at += 1;
        let body = self.at;
        let bare_time = self.rest().starts_with('T');
        if !bare_time {
            self.take(|byte| byte.is_ascii_digit() || byte == b'-');
        }
        let timed = self.rest().starts_with('T');
        if timed {
            self.at += 1;
            self.clock();
            self.zone();
        }
        let text = &self.text[body..self.at];
        let token = match (bare_time, timed) {
            (true, _) => Time::parse(&text[1..]).map(Token::Time),
            (false, true) => DateTime::parse(text).map(Token::DateTime),
            (false, false) => Date::parse(text).map(Token::Date),
        };
        match token {
            Some(token) => Ok(token),
            None => self.fail(start, "this is not a date, date-time or time, such as @2015-02-04T14:34 or @T14:34"),
        }
    }

    fn clock(&mut self) {
        self.take(|byte| byte.is_ascii_digit() || byte == b':');
        let rest = self.rest().as_bytes();
        if rest.first() == Some(&b'.') && rest.get(1).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
            self.digits();
        }
    }

    fn zone(&mut self) {
        let rest = self.rest().as_bytes();
        match rest {
            [b'Z', ..] => self.at += 1,
            [b'+' | b'-', a, b, b':', c, d, ..] if [a, b, c, d].iter().all(|byte| byte.is_ascii_digit()) => {
                self.at += 6;
            }
            _ => {}
        }
    }

    fn quoted(&mut self, quote: char) -> Result<String, SyntaxError> {
        let start = self.at;
        self.at += 1;
        let mut text = String::new();
        loop {
            let Some(letter) = self.rest().chars().next() else {
                return self.fail(start, "the quoted text is not closed");
            };
            self.at += letter.len_utf8();
            match letter {
                '\\' => text.push(self.escape()?),
                letter if letter == quote => return Ok(text),
                letter => text.push(letter),
            }
        }
    }

    /// What follows a backslash.
    fn escape(&mut self) -> Result<char, SyntaxError> {
        let start = self.at - 1;
        let Some(code) = self.rest().chars().next() else { return self.fail(start, "the escape is not complete") };
        self.at += code.len_utf8();
        match code {
            '\'' | '"' | '`' | '\\' | '/' => Ok(code),
            'r' => Ok('\r'),
            'n' => Ok('\n'),
            't' => Ok('\t'),
            'f' => Ok('\u{c}'),
            'u' => match self.unicode() {
                Some(letter) => Ok(letter),
                None => self.fail(start, "four hexadecimal digits were expected after \\u"),
            },
            _ => self.fail(start, "the escape is unknown; in a pattern, write the backslash twice"),
        }
    }

    fn unicode(&mut self) -> Option<char> {
        let first = self.unit()?;
        if !(0xD800..0xDC00).contains(&first) {
            return char::from_u32(first);
        }
        self.at += self.rest().starts_with("\\u").then_some(2)?;
        let second = self.unit().filter(|unit| (0xDC00..0xE000).contains(unit))?;
        char::from_u32(0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00))
    }

    fn unit(&mut self) -> Option<u32> {
        let digits = self.rest().get(..4).filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        self.at += 4;
        u32::from_str_radix(digits, 16).ok()
    }
}
