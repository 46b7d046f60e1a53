package store

// WithChunk returns options whose chunks have n rows.
func (o ImportOptions) WithChunk(n int) ImportOptions {
	o.chunk = n
	return o
}
