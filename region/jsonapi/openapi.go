package jsonapi

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// object is JSON that is built.
type object map[string]any

// document describes the routes as OpenAPI 3.0. The shapes of messages come
// from their descriptors.
func document(routes []route) []byte {
	d := &schemas{done: object{}}
	paths := object{}
	for _, r := range routes {
		p, ok := paths[r.path].(object)
		if !ok {
			p = object{}
			paths[r.path] = p
		}
		p[strings.ToLower(r.method)] = d.operation(r)
	}
	d.done["Error"] = object{"type": "object", "required": []string{"error"}, "properties": object{"error": object{
		"type": "object", "required": []string{"code", "message"},
		"properties": object{"code": object{"type": "string"}, "message": object{"type": "string"}},
	}}}
	b, err := json.MarshalIndent(object{
		"openapi":    "3.0.3",
		"info":       object{"title": "Firebreak region node", "version": "v1", "description": "64-bit numbers of messages are strings. Rows of SQL are plain JSON: integers with all their digits, blobs as arrays of bytes."},
		"paths":      paths,
		"components": object{"schemas": d.done, "securitySchemes": object{"token": object{"type": "http", "scheme": "bearer"}}},
		"security":   []object{{}, {"token": []string{}}},
	}, "", "  ")
	if err != nil {
		panic(err) // it is made of strings and maps
	}
	return append(b, '\n')
}

func (h *Handler) openAPI(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(h.doc)
}

type schemas struct{ done object }

var pathParameter = regexp.MustCompile(`\{(\w+)\}`)

func (d *schemas) operation(r route) object {
	var parameters []object
	for _, m := range pathParameter.FindAllStringSubmatch(r.path, -1) {
		parameters = append(parameters, object{"name": m[1], "in": "path", "required": true, "schema": object{"type": "string"}})
	}
	for _, name := range r.query {
		parameters = append(parameters, object{"name": name, "in": "query", "schema": object{"type": "string"}})
	}
	ok := object{"description": "done", "content": object{"application/json": object{"schema": object{"type": "object"}}}}
	switch {
	case r.stream != "":
		kind := object{"schema": object{"type": "string", "description": r.stream}}
		ok = object{"description": r.stream, "content": object{"application/x-ndjson": kind, "text/event-stream": kind}}
	case r.response != nil:
		ok["content"] = object{"application/json": object{"schema": d.message(r.response.ProtoReflect().Descriptor())}}
	}
	op := object{"summary": r.summary, "responses": object{"200": ok, "default": object{
		"description": "what is wrong", "content": object{"application/json": object{"schema": object{"$ref": "#/components/schemas/Error"}}},
	}}}
	if parameters != nil {
		op["parameters"] = parameters
	}
	if r.method == http.MethodPost {
		op["requestBody"] = object{"required": true, "content": object{"application/json": object{"schema": d.body(r)}}}
	}
	return op
}

func (d *schemas) body(r route) object {
	switch {
	case r.request != nil:
		return d.message(r.request.ProtoReflect().Descriptor())
	case r.sql:
		return object{"type": "object", "required": []string{"sql"}, "properties": object{
			"sql": object{"type": "string"}, "args": object{"type": "array", "items": object{}},
		}}
	}
	return object{"type": "object"}
}

func (d *schemas) message(m protoreflect.MessageDescriptor) object {
	name := string(m.Name())
	if _, ok := d.done[name]; !ok {
		d.done[name] = object{} // a message may hold itself
		properties := object{}
		for i := range m.Fields().Len() {
			f := m.Fields().Get(i)
			properties[string(f.Name())] = d.field(f)
		}
		d.done[name] = object{"type": "object", "properties": properties}
	}
	return object{"$ref": "#/components/schemas/" + name}
}

func (d *schemas) field(f protoreflect.FieldDescriptor) object {
	if f.IsMap() {
		return object{"type": "object"}
	}
	one := d.single(f)
	if f.IsList() {
		return object{"type": "array", "items": one}
	}
	if f.Kind() == protoreflect.MessageKind && !f.IsList() {
		return object{"allOf": []object{one}, "nullable": true}
	}
	return one
}

func (d *schemas) single(f protoreflect.FieldDescriptor) object {
	switch f.Kind() {
	case protoreflect.BoolKind:
		return object{"type": "boolean"}
	case protoreflect.EnumKind:
		var names []string
		for i := range f.Enum().Values().Len() {
			names = append(names, string(f.Enum().Values().Get(i).Name()))
		}
		return object{"type": "string", "enum": names}
	case protoreflect.Int32Kind, protoreflect.Uint32Kind, protoreflect.Sint32Kind, protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind:
		return object{"type": "integer"}
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return object{"type": "number"}
	case protoreflect.BytesKind:
		return object{"type": "string", "format": "byte"}
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return d.message(f.Message())
	}
	return object{"type": "string"}
}
