package client

import (
	"context"
	"io"
	"net/url"
	"strconv"

	"writ.dev/writ"
)

// Ledger is where an organization's log stands.
type Ledger struct {
	Org         writ.ID     `json:"org"`
	Origin      string      `json:"origin" doc:"the log's name, as its checkpoints carry it"`
	Incarnation int64       `json:"incarnation"`
	Size        int64       `json:"size"`
	Epoch       int64       `json:"epoch"`
	LastChange  int64       `json:"last_change" doc:"sequence number of the newest change, -1 for none"`
	Time        writ.Time   `json:"time,omitempty" doc:"of the newest entry"`
	Keys        []string    `json:"keys" nullable:"false" doc:"verifier keys of its checkpoints; take them over a channel that you trust"`
	Checkpoint  *Checkpoint `json:"checkpoint,omitempty"`
}

// Checkpoint is a signed note over a size of the log (C2SP tlog-checkpoint).
type Checkpoint struct {
	Size int64     `json:"size"`
	Time writ.Time `json:"time,omitempty" doc:"of the newest entry that it covers"`
	Note string    `json:"note"`
}

// Entry is one entry of a log, byte for byte.
type Entry struct {
	Seq  int64  `json:"seq"`
	Leaf []byte `json:"leaf" doc:"canonical JSON, the bytes that the tree is over"`
	Pack []byte `json:"pack" doc:"the salted parts that the leaf commits to"`
}

// EntryFilter says which entries: from, up to but not including to.
type EntryFilter struct {
	From    int64 `query:"from" minimum:"0"`
	To      int64 `query:"to" minimum:"0" doc:"the end of the log if not given"`
	Changes bool  `query:"changes" doc:"only changes of authority"`
	Limit   int   `query:"limit" minimum:"0" maximum:"1000" doc:"how many at most; 1000 if not given"`
}

// Entries are some entries; Next is where the following ones begin, absent
// when there are no more in the range.
type Entries struct {
	Items []Entry `json:"items" nullable:"false"`
	Next  int64   `json:"next,omitempty"`
}

// Ledger tells where the log stands.
func (c *Client) Ledger(ctx context.Context) (*Ledger, error) {
	out := &Ledger{}
	return out, c.do(ctx, get(nil, out, "v1", "ledger"))
}

// Checkpoint makes a checkpoint over all that is durable, and gives it.
func (c *Client) Checkpoint(ctx context.Context) (*Checkpoint, error) {
	out := &Checkpoint{}
	return out, c.do(ctx, get(nil, out, "v1", "ledger", "checkpoint"))
}

// Entries gives entries of the log, for auditors.
func (c *Client) Entries(ctx context.Context, f EntryFilter) (*Entries, error) {
	out := &Entries{}
	return out, c.do(ctx, get(query(f), out, "v1", "ledger", "entries"))
}

// Export writes the log to w, up to the size of the newest checkpoint, which it
// gives. `writ ledger verify` checks it without asking the server anything.
func (c *Client) Export(ctx context.Context, w io.Writer) (*Checkpoint, error) {
	cp, err := c.Checkpoint(ctx)
	if err != nil {
		return nil, err
	}
	_, err = c.download(ctx, get(url.Values{"size": {strconv.FormatInt(cp.Size, 10)}}, nil, "v1", "ledger", "export"), w)
	return cp, err
}

// Node is a full tile of 256 hashes.
type Node struct {
	Level  int    `json:"level"`
	Index  int64  `json:"index"`
	Hashes []byte `json:"hashes"`
}

// Node gives a full tile of the tree, for auditors.
func (c *Client) Node(ctx context.Context, level int, index int64) (*Node, error) {
	out := &Node{}
	return out, c.do(ctx, get(nil, out, "v1", "ledger", "nodes", strconv.Itoa(level), strconv.FormatInt(index, 10)))
}

// Evidence writes the evidence bundle of one use to w and gives its length.
// What was written is checked offline with `writ evidence verify`.
func (c *Client) Evidence(ctx context.Context, use string, w io.Writer) (int64, error) {
	return c.download(ctx, get(nil, nil, "v1", "evidence", use), w)
}

// download copies an answer that is a file.
func (c *Client) download(ctx context.Context, k call, w io.Writer) (int64, error) {
	resp, err := c.send(ctx, k, "application/octet-stream")
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	n, err := io.Copy(w, resp.Body)
	if err != nil {
		return n, c.unavailable(err)
	}
	// A file that breaks off shows by its length, or as an error of the chunks.
	if resp.ContentLength >= 0 && n != resp.ContentLength {
		return n, c.unavailable(io.ErrUnexpectedEOF)
	}
	return n, nil
}
