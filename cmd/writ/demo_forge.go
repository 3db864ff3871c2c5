package main

import (
	"database/sql"
	"errors"
	"path/filepath"
	"time"

	_ "modernc.org/sqlite" // the driver that the server uses too
	"writ.dev/writ"
	"writ.dev/writ/internal/canon"
)

// forgeGrant does what somebody with the database file can do: it writes a
// grant for everything, and points it at a record that exists.
func forgeGrant(data string, agent *writ.Identity, credential *writ.Credential) (err error) {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(data, "writ.db"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	grant := writ.Grant{
		ID: writ.NewID(writ.KindGrant), Org: agent.Org, Identity: agent.ID, Credential: credential.ID, State: writ.Active,
		Rules: []writ.Rule{{Methods: []string{"*"}, Path: "/**"}}, Created: writ.At(time.Now()), Authoriser: credential.Authoriser,
	}
	body, err := canon.Marshal(grant)
	if err != nil {
		return err
	}
	_, err = db.Exec(`INSERT INTO grants (org, id, body, entry_seq, entry_digest)
		SELECT org, $1, $2, entry_seq, entry_digest FROM grants WHERE org = $3 ORDER BY entry_seq DESC LIMIT 1`, grant.ID, string(body), agent.Org)
	return err
}
