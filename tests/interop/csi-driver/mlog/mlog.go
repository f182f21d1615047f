// Package mlog stands in for the logging library of the Secrets Store CSI driver, whose module not every proxy serves: the five names
// that the driver uses, on the same klog.
package mlog

import (
	"context"
	"os"

	"k8s.io/klog/v2"
)

// LogFormat is how lines are written.
type LogFormat string

// The formats that the driver asks for.
const (
	FormatText LogFormat = "text"
	FormatJSON LogFormat = "json"
)

// Setup gives what ends the logging.
func Setup() func() { return klog.Flush }

// ValidateAndSetKlogLevelAndFormatGlobally leaves both as they are.
func ValidateAndSetKlogLevelAndFormatGlobally(context.Context, klog.Level, LogFormat) error { return nil }

// Error logs an error.
func Error(message string, err error, keysAndValues ...any) {
	klog.ErrorS(err, message, keysAndValues...)
}

// Fatal logs an error and ends the program.
func Fatal(err error) {
	klog.ErrorS(err, "fatal")
	klog.Flush()
	os.Exit(1)
}
