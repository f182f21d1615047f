//! Templates in the language of Go's `text/template`, with the functions of sprig, sandboxed: no I/O, bounded in steps and size.
