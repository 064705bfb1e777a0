package server

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/natsd/natsd/server/options"
)

// minLameDuckDuration is the shortest time that clients have to move.
const minLameDuckDuration = 30 * time.Second

// validate checks what makes a server refuse to start, other than what a test of
// the configuration file finds.
func validate(o *options.Options) error {
	switch {
	case o.MaxPayload > o.MaxPending:
		return fmt.Errorf("max_payload (%v) cannot be higher than max_pending (%v)", o.MaxPayload, o.MaxPending)
	case strings.ContainsAny(o.ServerName, " \t"):
		return errors.New("server name cannot contain spaces")
	case o.LameDuckDuration < minLameDuckDuration:
		return fmt.Errorf("invalid lame_duck_duration of %v, minimum is 30 seconds", o.LameDuckDuration)
	case o.LameDuckGracePeriod < 0:
		return errors.New("invalid lame_duck_grace_period, needs to be positive")
	case o.LameDuckGracePeriod >= o.LameDuckDuration:
		return fmt.Errorf("lame duck grace period (%v) should be strictly lower than lame duck duration (%v)", o.LameDuckGracePeriod, o.LameDuckDuration)
	}
	return nil
}
