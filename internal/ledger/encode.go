package ledger

import (
	"database/sql/driver"
	"encoding"
	"encoding/json"
	"fmt"
	"time"
)

// stampLayout is RFC3339Nano with all nine digits always written, so that stamps sort as text.
const stampLayout = "2006-01-02T15:04:05.000000000Z07:00"

// stamp is a time as a column: UTC, fixed width; the zero time is "".
type stamp time.Time

// Value writes the time as text.
func (s stamp) Value() (driver.Value, error) {
	t := time.Time(s)
	if t.IsZero() {
		return "", nil
	}
	return t.UTC().Format(stampLayout), nil
}

// Scan reads the text again.
func (s *stamp) Scan(v any) error {
	raw, err := columnText(v)
	if err != nil || raw == "" {
		*s = stamp{}
		return err
	}
	t, err := time.Parse(time.RFC3339Nano, raw)
	if err != nil {
		return fmt.Errorf("column is no time: %w", err)
	}
	*s = stamp(t.UTC())
	return nil
}

// word is a column whose type writes itself as text, such as a verdict.
type word struct{ value any }

// Value writes the word.
func (w word) Value() (driver.Value, error) {
	m, ok := w.value.(encoding.TextMarshaler)
	if !ok {
		return nil, fmt.Errorf("%T writes no text", w.value)
	}
	text, err := m.MarshalText()
	return string(text), err
}

// Scan reads the word.
func (w word) Scan(v any) error {
	raw, err := columnText(v)
	if err != nil {
		return err
	}
	u, ok := w.value.(encoding.TextUnmarshaler)
	if !ok {
		return fmt.Errorf("%T reads no text", w.value)
	}
	return u.UnmarshalText([]byte(raw))
}

// document is a column that holds JSON.
type document struct{ value any }

// Value writes the JSON.
func (d document) Value() (driver.Value, error) {
	text, err := json.Marshal(d.value)
	return string(text), err
}

// Scan reads the JSON.
func (d document) Scan(v any) error {
	raw, err := columnText(v)
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(raw), d.value)
}

// truth is a yes or no as 1 or 0, which every database understands.
type truth bool

// Value writes 1 or 0.
func (t truth) Value() (driver.Value, error) {
	if t {
		return int64(1), nil
	}
	return int64(0), nil
}

// Scan reads 1 or 0.
func (t *truth) Scan(v any) error {
	n, ok := v.(int64)
	if !ok {
		return fmt.Errorf("column is %T, not a number", v)
	}
	*t = n != 0
	return nil
}

func columnText(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case []byte:
		return string(v), nil
	}
	return "", fmt.Errorf("column is %T, not text", v)
}
