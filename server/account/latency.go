package account

// Latency asks for measurements of a service.
type Latency struct {
	Subject  string // of the results, in the exporting account
	Sampling int    // percent; 0: decided by the headers of a request
}
