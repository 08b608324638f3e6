// Package sqltext splits SQL into tokens as SQLite does, as far as the ends of
// statements, keywords, names and comments go. What a statement means is for
// SQLite to say.
package sqltext

import (
	"errors"
	"fmt"
	"strings"
)

// Kind says what a token is.
type Kind int

// MaxStatement is the bytes of one statement that Single takes.
const MaxStatement = 1 << 20

// ErrEmpty says that there is no statement in a text.
var ErrEmpty = errors.New("statement is empty")

// The kinds of tokens.
const (
	Word      Kind = iota // keyword or bare identifier
	Name                  // quoted identifier
	String                // 'text' or x'blob'
	Number                // digits
	Comment               // either form, without its marks
	Parameter             // with its mark: ?, ?1, :a, @a, $a
	Other                 // one character
)

// Token is one token and where it stands.
type Token struct {
	Kind     Kind
	Text     string // as written; of a comment, what it says
	Pos, End int
}

// Is reports whether t is the keyword or character s.
func (t Token) Is(s string) bool {
	return (t.Kind == Word || t.Kind == Other) && strings.EqualFold(t.Text, s)
}

// Ident returns the name that t is, without its quotes. A text in single quotes
// is one where SQLite takes it as one.
func (t Token) Ident() string {
	if t.Kind != Name && t.Kind != String || len(t.Text) < 2 {
		return t.Text
	}
	quote := t.Text[0]
	inner := strings.TrimSuffix(t.Text[1:], closing(quote))
	if quote == '[' {
		return inner
	}
	return strings.ReplaceAll(inner, string([]byte{quote, quote}), string(quote))
}

func closing(quote byte) string {
	if quote == '[' {
		return "]"
	}
	return string(quote)
}

// Lex splits SQL into tokens as SQLite does, as far as the ends of statements,
// keywords and comments go. What is not closed runs to the end.
func Lex(sql string) []Token {
	var out []Token
	for i := 0; i < len(sql); {
		if strings.IndexByte(" \t\n\r\f", sql[i]) >= 0 {
			i++
			continue
		}
		t := lexOne(sql, i)
		t.Pos = i
		if t.Text == "" && t.Kind != Comment {
			t.Text = sql[i:t.End]
		}
		out = append(out, t)
		i = t.End
	}
	return out
}

func lexOne(sql string, i int) Token {
	rest := sql[i:]
	switch c := sql[i]; {
	case strings.HasPrefix(rest, "--"):
		end := strings.IndexByte(rest, '\n')
		if end < 0 {
			end = len(rest)
		}
		return Token{Kind: Comment, Text: rest[2:end], End: i + end}
	case strings.HasPrefix(rest, "/*"):
		end := strings.Index(rest[2:], "*/")
		if end < 0 {
			return Token{Kind: Comment, Text: rest[2:], End: len(sql)}
		}
		return Token{Kind: Comment, Text: rest[2 : 2+end], End: i + end + 4}
	case c == '\'':
		return Token{Kind: String, End: lexQuoted(sql, i, '\'')}
	case (c == 'x' || c == 'X') && len(rest) > 1 && rest[1] == '\'':
		return Token{Kind: String, End: lexQuoted(sql, i+1, '\'')}
	case c == '"' || c == '`':
		return Token{Kind: Name, End: lexQuoted(sql, i, c)}
	case c == '[':
		return Token{Kind: Name, End: lexQuoted(sql, i, ']')}
	case digit(c), c == '.' && len(rest) > 1 && digit(rest[1]):
		return Token{Kind: Number, End: lexNumber(sql, i)}
	case c == '?':
		for i++; i < len(sql) && digit(sql[i]); i++ {
		}
		return Token{Kind: Parameter, End: i}
	case c == ':' || c == '@' || c == '$':
		if end := lexParameter(sql, i); end > 0 {
			return Token{Kind: Parameter, End: end}
		}
	case wordByte(c):
		return Token{Kind: Word, End: lexWord(sql, i)}
	}
	return Token{Kind: Other, End: i + 1}
}

func lexQuoted(sql string, i int, quote byte) int {
	for j := i + 1; j < len(sql); j++ {
		if sql[j] != quote {
			continue
		}
		if quote != ']' && j+1 < len(sql) && sql[j+1] == quote {
			j++
			continue
		}
		return j + 1
	}
	return len(sql)
}

// lexParameter takes a mark and a name, which may hold "::" and end in a part
// in parentheses, as Tcl has them. Zero if there is no name.
func lexParameter(sql string, i int) int {
	named := false
	for j := i + 1; ; j++ {
		switch {
		case j < len(sql) && wordByte(sql[j]):
			named = true
		case j+1 < len(sql) && sql[j:j+2] == "::":
			j++
		case !named:
			return 0
		case j < len(sql) && sql[j] == '(':
			if n := strings.IndexAny(sql[j:], " \t\n\v\f\r)"); n > 0 && sql[j+n] == ')' {
				return j + n + 1
			}
			return j // SQLite knows no such token
		default:
			return j
		}
	}
}

func lexWord(sql string, i int) int {
	for i < len(sql) && wordByte(sql[i]) {
		i++
	}
	return i
}

// lexNumber takes digits, a point and an exponent with its sign, and what
// stands right behind them.
func lexNumber(sql string, i int) int {
	hex := len(sql) > i+1 && (sql[i+1] == 'x' || sql[i+1] == 'X')
	for j := i; j < len(sql); j++ {
		c := sql[j]
		exponent := !hex && (c == '+' || c == '-') && j > i && (sql[j-1] == 'e' || sql[j-1] == 'E') && j+1 < len(sql) && digit(sql[j+1])
		if !wordByte(c) && c != '.' && !exponent {
			return j
		}
	}
	return len(sql)
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

func wordByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '$' || c >= 0x80
}

// Single returns the one statement of sql, without what ends it, and its first
// keyword in upper case.
func Single(sql string) (stmt, keyword string, err error) {
	switch {
	case len(sql) > MaxStatement:
		return "", "", fmt.Errorf("statement of %d bytes is over the limit of %d", len(sql), MaxStatement)
	case strings.IndexByte(sql, 0) >= 0:
		return "", "", errors.New("statement holds a NUL byte")
	}
	end := len(sql)
	var ended, trigger bool
	for _, t := range Lex(sql) {
		switch {
		case t.Kind == Comment:
		case t.Is(";"):
			if keyword == "" {
				return "", "", ErrEmpty
			}
			if !ended {
				end = t.Pos
			}
			ended = true
		case ended && trigger:
			return "", "", errors.New("CREATE TRIGGER is not allowed here: write what it would do in the same transaction")
		case ended:
			return "", "", fmt.Errorf("one statement is allowed, and there is another: %s", t.Text)
		case keyword == "":
			keyword = strings.ToUpper(t.Text)
		case t.Is("TRIGGER"):
			trigger = keyword == "CREATE"
		}
	}
	if keyword == "" {
		return "", "", ErrEmpty
	}
	return sql[:end], keyword, nil
}
