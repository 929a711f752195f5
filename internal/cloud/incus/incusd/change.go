package incusd

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"net/http"
)

// change reads an object, lets edit alter the part of it that T knows, and writes the whole back, unless
// edit left it as it was. What T does not know stays as the daemon gave it. If somebody else changed the
// object meanwhile, nothing is written, and Stale tells so of the error.
func change[T any](ctx context.Context, c *Client, edit func(*T), path ...string) error {
	a, err := c.send(ctx, request{method: http.MethodGet, path: path})
	if err != nil {
		return err
	}
	var part T
	var whole map[string]json.RawMessage
	if err := a.into(&part); err != nil {
		return err
	}
	if err := a.into(&whole); err != nil {
		return err
	}
	before, err := fields(part)
	if err != nil {
		return err
	}
	edit(&part)
	after, err := fields(part)
	if err != nil {
		return err
	}
	// A field that edit left alone goes back as it came: what is inside it may be more than T knows.
	maps.DeleteFunc(after, func(name string, value json.RawMessage) bool { return bytes.Equal(before[name], value) })
	if len(after) == 0 {
		return nil
	}
	maps.Copy(whole, after)
	return c.put(ctx, whole, a.etag, path...)
}

// fields gives the JSON of each field.
func fields(part any) (map[string]json.RawMessage, error) {
	text, err := json.Marshal(part)
	if err != nil {
		return nil, err
	}
	var each map[string]json.RawMessage
	err = json.Unmarshal(text, &each)
	return each, err
}
