package main

import (
	"context"
	"encoding"
	"encoding/json"
	"reflect"
	"strings"

	"github.com/spf13/cobra"

	"writ.dev/writ"
)

func (c *cli) schemaCommand() *cobra.Command {
	return c.command(spec{
		use: "schema COMMAND...", short: "Print the JSON Schema of a command's --json", example: "writ schema grant ls",
		long:  "JSON Schema, draft 2020-12. Fields may be added later; none is renamed or taken away.",
		names: names{1, 3, "a command"}, out: map[string]any{},
		run: func(_ context.Context, args []string) error {
			cmd, rest, err := c.root.Find(args)
			s := c.specs[cmd]
			switch {
			case err != nil || len(rest) > 0 || cmd == c.root:
				return writ.Invalid("command", "there is no command writ "+writ.Printable(strings.Join(args, " "), 60), "see the commands: writ help")
			case s == nil || s.out == nil:
				return writ.Invalid("command", cmd.CommandPath()+" prints no JSON", "see what it does: "+cmd.CommandPath()+" --help")
			}
			b := &schemaBuilder{defs: map[string]any{}, names: map[reflect.Type]string{}}
			root := b.of(reflect.TypeOf(s.out))
			out := map[string]any{"$schema": "https://json-schema.org/draft/2020-12/schema", "title": cmd.CommandPath() + " --json"}
			for k, v := range root {
				out[k] = v
			}
			if len(b.defs) > 0 {
				out["$defs"] = b.defs
			}
			return c.writeJSON(out, true)
		},
	})
}

// schemaBuilder turns Go types into JSON Schema as encoding/json writes them.
type schemaBuilder struct {
	defs  map[string]any
	names map[reflect.Type]string
}

var (
	jsonMarshaler = reflect.TypeFor[json.Marshaler]()
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
)

func (b *schemaBuilder) of(t reflect.Type) map[string]any {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t.Implements(jsonMarshaler) || reflect.PointerTo(t).Implements(jsonMarshaler) && t.Kind() == reflect.Struct && t.NumField() > 0 && !hasTags(t):
		return map[string]any{} // writes itself: any value
	case t.Implements(textMarshaler):
		return map[string]any{"type": "string"}
	}
	switch t.Kind() {
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return map[string]any{"type": "integer"}
	case reflect.Float32, reflect.Float64:
		return map[string]any{"type": "number"}
	case reflect.String:
		return map[string]any{"type": "string"}
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 && t.Kind() == reflect.Slice {
			return map[string]any{"type": "string", "contentEncoding": "base64"}
		}
		return map[string]any{"type": "array", "items": b.of(t.Elem())}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": b.of(t.Elem())}
	case reflect.Struct:
		return b.ref(t)
	}
	return map[string]any{}
}

func hasTags(t reflect.Type) bool {
	for i := range t.NumField() {
		if t.Field(i).Tag.Get("json") != "" {
			return true
		}
	}
	return false
}

// ref names a struct once, so that types that hold themselves come to an end.
func (b *schemaBuilder) ref(t reflect.Type) map[string]any {
	name, ok := b.names[t]
	if !ok {
		name = strings.NewReplacer("[", "-", "]", "", "*", "", "/", ".").Replace(t.Name())
		if i := strings.LastIndexByte(name, '.'); i >= 0 {
			name = name[i+1:]
		}
		if _, taken := b.defs[name]; taken || name == "" {
			name = strings.ReplaceAll(t.PkgPath(), "/", ".") + "." + name
		}
		b.names[t] = name
		b.defs[name] = nil // taken from here on
		def := map[string]any{"type": "object"}
		properties, required := map[string]any{}, []string{}
		b.fields(t, properties, &required)
		def["properties"] = properties
		if len(required) > 0 {
			def["required"] = required
		}
		b.defs[name] = def
	}
	return map[string]any{"$ref": "#/$defs/" + name}
}

func (b *schemaBuilder) fields(t reflect.Type, properties map[string]any, required *[]string) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" || !f.IsExported() && !f.Anonymous {
			continue
		}
		if f.Anonymous && name == "" {
			b.fields(f.Type, properties, required)
			continue
		}
		p := b.of(f.Type)
		if doc := f.Tag.Get("doc"); doc != "" {
			p["description"] = doc
		}
		if enum := f.Tag.Get("enum"); enum != "" && p["type"] == "string" {
			p["enum"] = strings.Split(enum, ",")
		}
		properties[name] = p
		if !strings.Contains(opts, "omitempty") && !strings.Contains(opts, "omitzero") {
			*required = append(*required, name)
		}
	}
}
