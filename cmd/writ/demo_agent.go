package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"writ.dev/writ"
)

// demoAgentCommand is the demo's agent: an ordinary HTTP program that knows
// nothing of Writ and takes its proxy and certificates from the environment.
func (c *cli) demoAgentCommand() *cobra.Command {
	cmd := c.command(spec{
		use: "demo-agent ACT...", short: "The scripted agent of writ demo", noJSON: "it is an ordinary program",
		example: "writ demo-agent get https://api.acme.test/v1/refunds/7", names: names{min: 1, max: 100},
		run: func(ctx context.Context, args []string) error { return demoAgent(ctx, c.stdout, args) },
	})
	cmd.Hidden = true
	return cmd
}

func demoAgent(ctx context.Context, out io.Writer, acts []string) error {
	for len(acts) > 0 {
		act := acts[0]
		if act == "env" {
			_, _ = fmt.Fprintf(out, "agent: of %d variables in my environment, %d hold a token of Writ\n", len(os.Environ()), strings.Count(strings.Join(os.Environ(), "\n"), "writ_"))
			acts = acts[1:]
			continue
		}
		if len(acts) < 2 {
			return writ.Invalid("act", "an act needs a URL", "give get, post or stream and a URL")
		}
		if err := demoAct(ctx, out, act, acts[1]); err != nil {
			_, _ = fmt.Fprintf(out, "agent: %s\n", writ.Printable(err.Error(), 300))
		}
		acts = acts[2:]
	}
	return nil
}

func demoAct(ctx context.Context, out io.Writer, act, target string) error {
	method := map[string]string{"get": http.MethodGet, "stream": http.MethodGet, "post": http.MethodPost}[act]
	var body io.Reader
	if method == http.MethodPost {
		body = strings.NewReader(`{"amount": 4995}`)
	}
	request, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return err
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.OnProxyConnectResponse = func(_ context.Context, _ *url.URL, _ *http.Request, r *http.Response) error {
		if r.StatusCode == http.StatusOK {
			return nil
		}
		// What a refused CONNECT answers is the reason; most programs show only its status.
		text, _ := io.ReadAll(io.LimitReader(r.Body, 64<<10))
		return fmt.Errorf("%s %s -> %d %s", method, target, r.StatusCode, strings.TrimSpace(string(text)))
	}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	_, _ = fmt.Fprintf(out, "agent: %s %s -> %d\n", method, target, response.StatusCode)
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		if text := strings.TrimSpace(lines.Text()); text != "" {
			_, _ = fmt.Fprintf(out, "agent: %s\n", text)
		}
	}
	return lines.Err()
}
