// Package bench is documented in its README.
package bench
