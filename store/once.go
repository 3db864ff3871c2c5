package store

import (
	"context"
	"encoding/json"
	"time"

	"writ.dev/writ"
	"writ.dev/writ/ledger"
)

// onceFor is how long an idempotency key is remembered.
const onceFor = 24 * time.Hour

// maxOnceKey bounds an idempotency key, in bytes.
const maxOnceKey = 255

// once makes an act idempotent under a key that its caller chose.
type once struct {
	key     string
	request [32]byte
}

// Once gives a Store whose creating acts are done once for the key: the same
// actor asking again within a day gets the first answer, also when both ask at
// the same time; another request under the same key is a conflict. request is
// a hash of what was asked. An answer holds no secret, so a repeat cannot show
// one: whoever lost a key's text revokes the key.
func (s *Store) Once(key string, request [32]byte) (*Store, error) {
	if key == "" {
		return s, nil
	}
	if len(key) > maxOnceKey || writ.CheckText("", key) != nil {
		return nil, writ.Invalid("Idempotency-Key", "not an idempotency key", "send 1 to 255 characters of plain text, such as a random UUID")
	}
	return &Store{core: s.core, once: &once{key, request}}, nil
}

// answer is what is remembered of the first time.
type answer struct {
	Body   json.RawMessage `json:"body"`
	Seq    int64           `json:"seq"`
	Digest []byte          `json:"digest"`
	Epoch  writ.Epoch      `json:"epoch"`
}

// replay gives the first answer, nil when this is the first time. It runs in
// the act's transaction, and acts of one organization run one after another.
func (o *once) replay(ctx context.Context, w *work) (subject any, mark ledger.Mark, err error) {
	if o == nil {
		return nil, mark, nil
	}
	var hash []byte
	var response string
	err = w.tx.QueryRowContext(ctx, `SELECT request_hash, response FROM idempotency WHERE org = $1 AND actor = $2 AND key = $3 AND created > $4`,
		w.org, w.by.Identity, o.key, int64(w.now.Add(-onceFor))).Scan(&hash, &response)
	if missing(err) {
		return nil, mark, nil
	}
	if err != nil {
		return nil, mark, w.readFailed(err)
	}
	if string(hash) != string(o.request[:]) {
		return nil, mark, writ.Errorf(writ.KindConflict, "the idempotency key was used for another request").WithFix("use a new key for a new request")
	}
	var a answer
	if err := json.Unmarshal([]byte(response), &a); err != nil {
		return nil, mark, err
	}
	var head struct{ ID writ.ID }
	if err := json.Unmarshal(a.Body, &head); err != nil {
		return nil, mark, err
	}
	mark = ledger.Mark{Seq: a.Seq, Epoch: a.Epoch}
	copy(mark.Digest[:], a.Digest)
	subject, err = tableOf(head.ID.Kind()).decode(a.Body)
	return subject, mark, err
}

// remember keeps the answer, and forgets those that are too old to be asked for.
func (o *once) remember(ctx context.Context, w *work, body []byte, mark ledger.Mark) error {
	if o == nil {
		return nil
	}
	response, err := json.Marshal(answer{body, mark.Seq, mark.Digest[:], mark.Epoch})
	if err != nil {
		return err
	}
	if err := w.tx.exec(ctx, `DELETE FROM idempotency WHERE org = $1 AND created <= $2`, w.org, int64(w.now.Add(-onceFor))); err != nil {
		return err
	}
	return w.tx.exec(ctx, `INSERT INTO idempotency (org, actor, key, request_hash, response, created) VALUES ($1, $2, $3, $4, $5, $6)`,
		w.org, w.by.Identity, o.key, o.request[:], string(response), int64(w.now))
}
