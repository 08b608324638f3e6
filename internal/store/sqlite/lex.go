package sqlite

import (
	"errors"
	"fmt"
	"strings"
)

// tokenKind says what a token of SQL is.
type tokenKind int

const (
	tokenWord    tokenKind = iota // keyword or bare identifier
	tokenName                     // quoted identifier
	tokenString                   // 'text' or x'blob'
	tokenNumber                   // digits
	tokenComment                  // either form, without its marks
	tokenOther                    // one character
)

type token struct {
	kind     tokenKind
	text     string // as written; of a comment, what it says
	pos, end int
}

// is reports whether t is the keyword or character s.
func (t token) is(s string) bool {
	return (t.kind == tokenWord || t.kind == tokenOther) && strings.EqualFold(t.text, s)
}

// lex splits SQL into tokens as SQLite does, as far as the ends of statements,
// keywords and comments go. What is not closed runs to the end.
func lex(sql string) []token {
	var out []token
	for i := 0; i < len(sql); {
		if strings.IndexByte(" \t\n\r\f", sql[i]) >= 0 {
			i++
			continue
		}
		t := lexOne(sql, i)
		t.pos = i
		if t.text == "" && t.kind != tokenComment {
			t.text = sql[i:t.end]
		}
		out = append(out, t)
		i = t.end
	}
	return out
}

func lexOne(sql string, i int) token {
	rest := sql[i:]
	switch c := sql[i]; {
	case strings.HasPrefix(rest, "--"):
		end := strings.IndexByte(rest, '\n')
		if end < 0 {
			end = len(rest)
		}
		return token{kind: tokenComment, text: rest[2:end], end: i + end}
	case strings.HasPrefix(rest, "/*"):
		end := strings.Index(rest[2:], "*/")
		if end < 0 {
			return token{kind: tokenComment, text: rest[2:], end: len(sql)}
		}
		return token{kind: tokenComment, text: rest[2 : 2+end], end: i + end + 4}
	case c == '\'':
		return token{kind: tokenString, end: lexQuoted(sql, i, '\'')}
	case (c == 'x' || c == 'X') && len(rest) > 1 && rest[1] == '\'':
		return token{kind: tokenString, end: lexQuoted(sql, i+1, '\'')}
	case c == '"' || c == '`':
		return token{kind: tokenName, end: lexQuoted(sql, i, c)}
	case c == '[':
		return token{kind: tokenName, end: lexQuoted(sql, i, ']')}
	case c >= '0' && c <= '9':
		return token{kind: tokenNumber, end: lexWord(sql, i)}
	case wordByte(c):
		return token{kind: tokenWord, end: lexWord(sql, i)}
	}
	return token{kind: tokenOther, end: i + 1}
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

func lexWord(sql string, i int) int {
	for i < len(sql) && (wordByte(sql[i]) || sql[i] == '.' && sql[i-1] >= '0' && sql[i-1] <= '9') {
		i++
	}
	return i
}

func wordByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '$' || c >= 0x80
}

// single returns the one statement of sql, without what ends it, and its first
// keyword in upper case.
func single(sql string) (stmt, keyword string, err error) {
	switch {
	case len(sql) > maxSQL:
		return "", "", fmt.Errorf("statement of %d bytes is over the limit of %d", len(sql), maxSQL)
	case strings.IndexByte(sql, 0) >= 0:
		return "", "", errors.New("statement holds a NUL byte")
	}
	end := len(sql)
	var ended bool
	for _, t := range lex(sql) {
		switch {
		case t.kind == tokenComment:
		case t.is(";"):
			if keyword == "" {
				return "", "", errEmpty
			}
			if !ended {
				end = t.pos
			}
			ended = true
		case ended:
			return "", "", fmt.Errorf("one statement is allowed, and there is another: %s", t.text)
		case keyword == "":
			keyword = strings.ToUpper(t.text)
		}
	}
	if keyword == "" {
		return "", "", errEmpty
	}
	return sql[:end], keyword, nil
}

var errEmpty = errors.New("statement is empty")
