package broker

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"strconv"
	"strings"
	"unicode/utf8"

	"writ.dev/writ"
)

// maxDepth bounds the nesting of a body that rules look into.
const maxDepth = 64

// readValues reads the scalars at the given RFC 6901 pointers from a JSON body.
// A body that two parsers could read differently (duplicate names, a byte-order
// mark, broken UTF-8, something after the value, an encoding, another media
// type) is an error, and an error means that no rule over the body holds
// (T18, T19, T21).
func readValues(contentType, contentEncoding string, body []byte, pointers []string) (writ.Values, error) {
	media, params, err := mime.ParseMediaType(contentType)
	if err != nil || (media != "application/json" && !strings.HasSuffix(media, "+json")) {
		return nil, errors.New("its media type is not JSON")
	}
	if c := params["charset"]; c != "" && !strings.EqualFold(c, "utf-8") {
		return nil, errors.New("its character set is not UTF-8")
	}
	if contentEncoding != "" && !strings.EqualFold(contentEncoding, "identity") {
		return nil, errors.New("it has a content encoding")
	}
	if !utf8.Valid(body) || bytes.HasPrefix(body, []byte("\xef\xbb\xbf")) {
		return nil, errors.New("it is not plain UTF-8")
	}
	w := walker{d: json.NewDecoder(bytes.NewReader(body)), values: writ.Values{}, wanted: map[string]bool{}}
	w.d.UseNumber()
	for _, p := range pointers {
		w.wanted[p] = true
	}
	if err := w.value("", 0); err != nil {
		return nil, err
	}
	if _, err := w.d.Token(); err != io.EOF {
		return nil, errors.New("it goes on after the JSON value")
	}
	return w.values, nil
}

type walker struct {
	d      *json.Decoder
	wanted map[string]bool
	values writ.Values
}

func (w *walker) value(pointer string, depth int) error {
	if depth > maxDepth {
		return errors.New("it is nested too deeply")
	}
	t, err := w.d.Token()
	if err != nil {
		return errors.New("it is not JSON")
	}
	switch t := t.(type) {
	case json.Delim:
		if t == '{' {
			return w.object(pointer, depth)
		}
		return w.array(pointer, depth)
	case string:
		// A lone surrogate is decoded to U+FFFD: other parsers keep it or fail.
		if w.wanted[pointer] && !strings.ContainsRune(t, utf8.RuneError) {
			w.values[pointer] = writ.String(t)
		}
	case json.Number:
		if w.wanted[pointer] {
			w.values[pointer] = writ.Number(t.String())
		}
	case bool:
		if w.wanted[pointer] {
			w.values[pointer] = writ.Bool(t)
		}
	}
	return nil
}

func (w *walker) object(pointer string, depth int) error {
	seen := map[string]bool{}
	for w.d.More() {
		t, err := w.d.Token()
		if err != nil {
			return errors.New("it is not JSON")
		}
		name, ok := t.(string)
		if !ok {
			return errors.New("it is not JSON")
		}
		if seen[name] {
			return errors.New("it names a member twice")
		}
		seen[name] = true
		escaped := strings.ReplaceAll(strings.ReplaceAll(name, "~", "~0"), "/", "~1")
		if err := w.value(pointer+"/"+escaped, depth+1); err != nil {
			return err
		}
	}
	_, err := w.d.Token()
	return err
}

func (w *walker) array(pointer string, depth int) error {
	for i := 0; w.d.More(); i++ {
		if err := w.value(pointer+"/"+strconv.Itoa(i), depth+1); err != nil {
			return err
		}
	}
	_, err := w.d.Token()
	return err
}
