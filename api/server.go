package api

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"log/slog"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/prometheus/client_golang/prometheus"

	"writ.dev/writ"
	"writ.dev/writ/broker"
	"writ.dev/writ/internal/problem"
	"writ.dev/writ/signin"
	"writ.dev/writ/store"
)

// Flights is what the API needs of the broker: what is in flight and rests on
// something.
type Flights interface {
	// Settle waits until what the change at epoch ended has come down, and
	// reports the counts.
	Settle(ctx context.Context, org writ.ID, epoch writ.Epoch) broker.Report
	// Connect registers a connection that rests on ids.
	Connect(ctx context.Context, org writ.ID, rests ...writ.ID) *broker.Lease
	// Attach registers a child process that rests on ids.
	Attach(ctx context.Context, org writ.ID, rests ...writ.ID) *broker.Lease
}

// Sealer seals secrets: the vault, behind the one method that the API may use.
type Sealer interface {
	// Seal encrypts secret as the value of v, into which its fingerprint, key id
	// and the hash of the ciphertext are filled. The caller clears secret.
	Seal(ctx context.Context, v *writ.Version, secret []byte) (sealed []byte, err error)
}

// Config is what a Server is made of.
type Config struct {
	Store   *store.Store
	Gate    *signin.Gate
	Flights Flights
	Sealer  Sealer
	// Standing tells whether the organization's authority is fresh; nil is yes.
	Standing func(org writ.ID) (stale bool)
	// Rebuild makes facts of recorded nouns; nil: decisions are not replayed.
	Rebuild Rebuild
	// Evidence makes the bundle of a use.
	Evidence func(ctx context.Context, org, use writ.ID) ([]byte, error)
	// CA is the root certificate of the intercepting proxy, PEM.
	CA []byte
	// VerifierKeys gives the keys that check the organization's checkpoints.
	VerifierKeys func(org writ.ID) []string
	// Origin gives the name of the organization's log.
	Origin func(org writ.ID) string
	// Operator is the organization whose administrators may make others.
	Operator writ.ID
	// Hosts are the names that the server goes by on plain HTTP, besides
	// localhost and IP addresses. A request for another is refused (DNS rebinding).
	Hosts []string
	About About
	Clock func() time.Time
	// Logger gets one line a request and the causes of failures; nil discards.
	Logger *slog.Logger
	// Registry is where metrics are kept, and shown from; nil makes one.
	Registry *prometheus.Registry
}

// About is what the server says of itself.
type About struct {
	Version  string
	Mode     string // "dev" or "server"
	Database string
	Proxy    string   // address of the forward proxy
	Rests    []string // what the promises rest on here, one sentence each
	Warnings []string
	// OpenMetrics shows /metrics without a token.
	OpenMetrics bool
}

// Server answers the HTTP API. It is safe for concurrent use.
type Server struct {
	Config
	log        *slog.Logger
	mux        *http.ServeMux
	huma       huma.API
	operations []operation
	metrics    *metrics
	children   *children
	started    time.Time
}

// New makes a Server.
func New(c Config) *Server {
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Registry == nil {
		c.Registry = prometheus.NewRegistry()
	}
	s := &Server{Config: c, log: c.Logger, mux: http.NewServeMux(), metrics: newMetrics(c.Registry), children: newChildren(), started: c.Clock()}
	schemas := huma.NewMapRegistry("#/components/schemas/", schemaName)
	schemas.RegisterTypeAlias(reflect.TypeFor[writ.Time](), reflect.TypeFor[time.Time]())
	schemas.RegisterTypeAlias(reflect.TypeFor[writ.Scalar](), reflect.TypeFor[any]())
	s.huma = humago.New(s.mux, huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title: "Writ", Version: "v1",
				Description: "One control plane for every identity that can act. Errors are problem documents (RFC 9457). A string that names a thing may be its id, a unique beginning of its id, or its name.",
			},
			Components: &huma.Components{
				Schemas: schemas,
				SecuritySchemes: map[string]*huma.SecurityScheme{
					"key":     {Type: "http", Scheme: "bearer", Description: "An API key: writ_key_..."},
					"session": {Type: "http", Scheme: "bearer", Description: "A session's token: writ_ses_..."},
				},
			},
		},
		Formats:                      map[string]huma.Format{"application/json": strictJSON, "json": strictJSON},
		DefaultFormat:                "application/json",
		RejectUnknownQueryParameters: true,
		Transformers:                 []huma.Transformer{reshape},
	})
	if c.Gate != nil && c.Gate.BelowRun == nil {
		c.Gate.BelowRun = s.belowRun
	}
	s.routes()
	// huma describes its own error model for every operation; none of them uses it.
	for _, name := range []string{"ErrorModel", "ErrorDetail"} {
		delete(schemas.Map(), name)
	}
	return s
}

func (s *Server) routes() {
	s.publicRoutes()
	s.identityRoutes()
	s.keyRoutes()
	s.orgRoutes()
	s.applicationRoutes()
	s.credentialRoutes()
	s.grantRoutes()
	s.policyRoutes()
	s.sessionRoutes()
	s.revokeRoutes()
	s.useRoutes()
	s.ledgerRoutes()
}

// operation is one operation of the API.
type operation struct {
	id      string
	method  string
	path    string
	summary string
	tag     string
	access  access
	// plain operations answer something other than JSON; media is its type.
	media string
	// hidden operations are described elsewhere than in the API's description.
	hidden bool
	// answer is the type of a success's body.
	answer reflect.Type
}

// schemaName names a type in the API's description.
func schemaName(t reflect.Type, hint string) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t {
	case reflect.TypeFor[problem.Document]():
		return "Problem"
	case reflect.TypeFor[problem.Extension]():
		return "ProblemDetails"
	}
	return huma.DefaultSchemaNamer(t, hint)
}

// operate adds an operation.
func operate[I, O any](s *Server, op operation, handle func(context.Context, *I) (*O, error)) {
	op.answer = reflect.TypeFor[O]()
	s.operations = append(s.operations, op)
	problems := s.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[problem.Document](), true, "Problem")
	ok := &huma.Response{Description: "OK"}
	if op.media != "" {
		ok.Content = map[string]*huma.MediaType{op.media: {Schema: &huma.Schema{Type: huma.TypeString}}}
	}
	o := huma.Operation{
		OperationID: op.id, Method: op.method, Path: op.path, Summary: op.summary, Tags: []string{op.tag},
		Hidden: op.hidden, Description: "Least role: " + op.access.least() + ".",
		MaxBodyBytes: maxBody, BodyReadTimeout: 10 * time.Second,
		Responses: map[string]*huma.Response{
			"200": ok,
			"default": {Description: "A problem document", Content: map[string]*huma.MediaType{
				problem.ContentType: {Schema: problems},
			}},
		},
		Security: []map[string][]string{},
	}
	if len(op.access.roles) > 0 && !op.access.open {
		o.Security = append(o.Security, map[string][]string{"key": {}})
	}
	if op.access.session && !op.access.open {
		o.Security = append(o.Security, map[string][]string{"session": {}})
	}
	o.Middlewares = huma.Middlewares{s.gate(op)}
	huma.Register(s.huma, o, func(ctx context.Context, in *I) (*O, error) {
		out, err := handle(ctx, in)
		if err != nil {
			return nil, s.failed(ctx, err)
		}
		return out, nil
	})
}

// gate lets the caller of an operation in, or answers why not. It is the one
// place where roles are enforced.
func (s *Server) gate(op operation) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		r, w := humago.Unwrap(ctx)
		noteOperation(r.Context(), op)
		if !op.access.open {
			c, err := s.Gate.Enter(r.Context(), attempt(r))
			if err == nil {
				noteCaller(r.Context(), c)
				err = op.access.admit(c)
			}
			if err != nil {
				s.fail(r.Context(), w, err)
				return
			}
			ctx = huma.WithContext(ctx, withCaller(r.Context(), c))
		}
		if hasBody(ctx.Operation()) && !isJSON(r.Header.Get("Content-Type")) {
			_ = huma.WriteErr(s.huma, ctx, http.StatusUnsupportedMediaType, "")
			return
		}
		next(ctx)
	}
}

func hasBody(op *huma.Operation) bool { return op.RequestBody != nil }

// OpenAPI is the API's description, OpenAPI 3.1 in JSON, with stable spelling.
func (s *Server) OpenAPI() ([]byte, error) {
	plain, err := json.Marshal(s.huma.OpenAPI())
	if err != nil {
		return nil, err
	}
	// Through a tree, so that members are sorted whatever made them.
	var tree any
	if err := json.Unmarshal(plain, &tree); err != nil {
		return nil, err
	}
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(tree); err != nil {
		return nil, err
	}
	return []byte(b.String()), nil
}

// Out is an answer with a body.
type Out[T any] struct{ Body T }

func out[T any](v T) *Out[T] { return &Out[T]{Body: v} }

// Mutation is what calls that change something take besides their body.
type Mutation struct {
	DryRun bool `query:"dry_run" doc:"validate and tell the effect, and change nothing"`
}

// Creation is a Mutation that makes something.
type Creation struct {
	Mutation
	Key string `header:"Idempotency-Key" maxLength:"255" doc:"repeating a request under the same key within a day does it once"`
}

// once is the store under the request's idempotency key. What was asked is
// told by the whole body, so that the key under another body is a conflict.
func (s *Server) once(c Creation, operation string, body any) (*store.Store, error) {
	if c.Key == "" {
		return s.Store, nil
	}
	b, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	h := sha256.New()
	h.Write([]byte("writ-request-v1\x00" + operation + "\x00"))
	h.Write(b)
	defer clear(b)
	return s.Store.Once(c.Key, [32]byte(h.Sum(nil)))
}

func (s *Server) now() writ.Time { return writ.At(s.Clock()) }
