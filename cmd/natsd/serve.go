package main

import (
	"errors"
	"io"

	"github.com/natsd/natsd/server/options"
)

// serve runs the server until it is told to stop.
func serve(cmd *options.CommandLine, stderr io.Writer) error {
	opts, err := cmd.Options()
	if err != nil {
		return err
	}
	_ = opts
	return errors.New("no server yet")
}
