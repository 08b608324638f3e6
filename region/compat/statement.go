package compat

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/firebreak-dev/firebreak/internal/jsonvalue"
	"github.com/firebreak-dev/firebreak/internal/record"
	"github.com/firebreak-dev/firebreak/internal/sqltext"
)

// statement is one SQL statement with its parameters in the order of their
// numbers.
type statement struct {
	sql  string
	args []record.Value
}

// errShape says that JSON is not of the shape of a statement.
var errShape = errors.New("data is no statement: want a string, [string], [string, [values]], [string, {names}] or {query, params, named_params}")

// parameterError refuses a name that the statement does not have.
type parameterError struct{ name string }

func (e *parameterError) Error() string {
	return fmt.Sprintf("Invalid parameter name: %s", e.name)
}

// parseStatement reads any of the forms.
func parseStatement(raw json.RawMessage) (statement, error) {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 {
		return statement{}, errShape
	}
	switch raw[0] {
	case '"':
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			return statement{}, err
		}
		return statement{sql: s}, nil
	case '[':
		return parsePair(raw)
	case '{':
		return parseObject(raw)
	}
	return statement{}, errShape
}

func parsePair(raw json.RawMessage) (statement, error) {
	var parts []json.RawMessage
	if err := json.Unmarshal(raw, &parts); err != nil {
		return statement{}, err
	}
	var sql string
	if len(parts) < 1 || len(parts) > 2 || parts[0][0] != '"' || json.Unmarshal(parts[0], &sql) != nil {
		return statement{}, errShape
	}
	if len(parts) == 1 {
		return statement{sql: sql}, nil
	}
	switch parts[1][0] {
	case '[':
		return positional(sql, parts[1])
	case '{':
		return named(sql, parts[1])
	case 'n':
		return statement{sql: sql}, nil
	}
	return statement{}, errShape
}

func parseObject(raw json.RawMessage) (statement, error) {
	var o struct {
		Query  *string         `json:"query"`
		Params json.RawMessage `json:"params"`
		Named  json.RawMessage `json:"named_params"`
	}
	if err := json.Unmarshal(raw, &o); err != nil || o.Query == nil {
		return statement{}, errShape
	}
	null := func(r json.RawMessage) bool { return len(r) == 0 || r[0] == 'n' }
	switch {
	case !null(o.Params) && !null(o.Named):
		return statement{}, fmt.Errorf("%w; not both params and named_params", errShape)
	case !null(o.Named):
		return named(*o.Query, o.Named)
	case !null(o.Params):
		return positional(*o.Query, o.Params)
	}
	return statement{sql: *o.Query}, nil
}

func positional(sql string, raw json.RawMessage) (statement, error) {
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil {
		return statement{}, errShape
	}
	s := statement{sql: sql, args: make([]record.Value, len(list))}
	for i, r := range list {
		var err error
		if s.args[i], err = jsonvalue.Parse(r); err != nil {
			return statement{}, fmt.Errorf("parameter %d: %w", i+1, err)
		}
	}
	return s, nil
}

// named puts values in the order of the statement's numbers. Names carry their
// prefix; what the statement names and is not given is NULL.
func named(sql string, raw json.RawMessage) (statement, error) {
	var given map[string]json.RawMessage
	if err := json.Unmarshal(raw, &given); err != nil {
		return statement{}, errShape
	}
	names := sqltext.Parameters(sql)
	s := statement{sql: sql, args: make([]record.Value, len(names))}
	for name, r := range given {
		i := slices.Index(names, name)
		if i < 0 || name == "" {
			return statement{}, &parameterError{name}
		}
		var err error
		if s.args[i], err = jsonvalue.Parse(r); err != nil {
			return statement{}, fmt.Errorf("parameter %s: %w", name, err)
		}
	}
	return s, nil
}
