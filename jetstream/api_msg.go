package jetstream

// messageEndpoints are the lines of the API's table about single messages.
var messageEndpoints = []*endpoint{}
