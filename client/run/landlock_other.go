//go:build !linux

package run

import "errors"

const minLandlock = 3

func landlockVersion() int { return 0 }

func restrict([]string) error { return errors.New("this system has no Landlock") }

func keptFolders([]string) []string { return nil }
