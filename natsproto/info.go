package natsproto

import (
	"bytes"
	"encoding/json"
)

// Info is the object of an INFO line, on every kind of port; the order of the
// members is their order on the wire.
type Info struct {
	ServerID     string `json:"server_id"`
	ServerName   string `json:"server_name"`
	Version      string `json:"version"`
	Proto        int    `json:"proto"`
	GitCommit    string `json:"git_commit,omitempty"`
	Go           string `json:"go"`
	Host         string `json:"host"`
	Port         int    `json:"port"`
	Headers      bool   `json:"headers"`
	AuthRequired bool   `json:"auth_required,omitempty"`
	TLSRequired  bool   `json:"tls_required,omitempty"`
	TLSVerify    bool   `json:"tls_verify,omitempty"`
	TLSAvailable bool   `json:"tls_available,omitempty"`
	// MaxPayload is in bytes, -1 for no limit.
	MaxPayload     int32    `json:"max_payload"`
	JetStream      bool     `json:"jetstream,omitempty"`
	IP             string   `json:"ip,omitempty"`
	ClientID       uint64   `json:"client_id,omitempty"`
	ClientIP       string   `json:"client_ip,omitempty"`
	Nonce          string   `json:"nonce,omitempty"`
	Cluster        string   `json:"cluster,omitempty"`
	ClusterDynamic bool     `json:"cluster_dynamic,omitempty"`
	Domain         string   `json:"domain,omitempty"`
	ConnectURLs    []string `json:"connect_urls,omitempty"`
	WSConnectURLs  []string `json:"ws_connect_urls,omitempty"`
	LameDuck       bool     `json:"ldm,omitempty"`
	Compression    string   `json:"compression,omitempty"`
	// ConnectInfo marks the INFO that answers the peer's CONNECT.
	ConnectInfo     bool         `json:"connect_info,omitempty"`
	RemoteAccount   string       `json:"remote_account,omitempty"`
	IsSystemAccount bool         `json:"acc_is_sys,omitempty"`
	APILevel        int          `json:"api_lvl,omitempty"`
	Import          *SubjectPerm `json:"import,omitempty"`
	Export          *SubjectPerm `json:"export,omitempty"`
	// LeafOrigin and LeafOriginUnsub: the sender reads the origin in LS+, LMSG
	// and in LS-.
	LeafOrigin          bool     `json:"lnoc,omitempty"`
	LeafOriginUnsub     bool     `json:"lnocu,omitempty"`
	InfoOnConnect       bool     `json:"info_on_connect,omitempty"`
	RoutePoolSize       int      `json:"route_pool_size,omitempty"`
	RoutePoolIndex      int      `json:"route_pool_idx,omitempty"`
	RouteAccount        string   `json:"route_account,omitempty"`
	RouteAccountReqID   string   `json:"route_acc_add_reqid,omitempty"`
	GossipMode          byte     `json:"gossip_mode,omitempty"`
	Gateway             string   `json:"gateway,omitempty"`
	GatewayURLs         []string `json:"gateway_urls,omitempty"`
	GatewayURL          string   `json:"gateway_url,omitempty"`
	GatewayCmd          byte     `json:"gateway_cmd,omitempty"`
	GatewayCmdPayload   []byte   `json:"gateway_cmd_payload,omitempty"`
	GatewayNRP          bool     `json:"gateway_nrp,omitempty"`
	GatewayInterestOnly bool     `json:"gateway_iom,omitempty"`
	LeafNodeURLs        []string `json:"leafnode_urls,omitempty"`
	XKey                string   `json:"xkey,omitempty"`
	// Natsd is natsd's own version, beside the version whose behaviour it has.
	Natsd string `json:"natsd,omitempty"`
}

// SubjectPerm is what a link lets through.
type SubjectPerm struct {
	Allow []string `json:"allow,omitempty"`
	Deny  []string `json:"deny,omitempty"`
}

// Decode lays the JSON of an INFO line over i.
func (i *Info) Decode(arg []byte) error { return decode(arg, i) }

// Append appends the whole INFO line, with a space between the object and
// CR LF, as clients have always seen it.
func (i *Info) Append(dst []byte) []byte {
	dst = append(dst, "INFO "...)
	dst = appendJSON(dst, i)
	return append(dst, " \r\n"...)
}

// appendJSON appends v as one line of JSON; the types given to it always have one.
func appendJSON(dst []byte, v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("natsproto: " + err.Error())
	}
	return append(dst, b...)
}

// Connect is the object of a client's CONNECT line. The links between servers
// have members of their own beside these.
type Connect struct {
	Verbose      bool   `json:"verbose"`
	Pedantic     bool   `json:"pedantic"`
	Echo         bool   `json:"echo"`
	TLSRequired  bool   `json:"tls_required,omitempty"`
	Token        string `json:"auth_token,omitempty"`
	User         string `json:"user,omitempty"`
	Pass         string `json:"pass,omitempty"`
	NKey         string `json:"nkey,omitempty"`
	Sig          string `json:"sig,omitempty"`
	JWT          string `json:"jwt,omitempty"`
	ProxySig     string `json:"proxy_sig,omitempty"`
	Name         string `json:"name,omitempty"`
	Lang         string `json:"lang,omitempty"`
	Version      string `json:"version,omitempty"`
	Protocol     int    `json:"protocol"`
	Headers      bool   `json:"headers,omitempty"`
	NoResponders bool   `json:"no_responders,omitempty"`
	Account      string `json:"account,omitempty"`
	NewAccount   bool   `json:"new_account,omitempty"`
	// What only servers say. A client that says it must say it right.
	Import        *SubjectPerm `json:"import,omitempty"`
	Export        *SubjectPerm `json:"export,omitempty"`
	RemoteAccount string       `json:"remote_account,omitempty"`
}

// DefaultConnect is what holds for a client that sent no CONNECT.
func DefaultConnect() Connect { return Connect{Verbose: true, Pedantic: true, Echo: true} }

// Decode lays the JSON of a CONNECT line over c: members that it lacks keep
// their value. Names match in any case, unknown ones are passed over.
func (c *Connect) Decode(arg []byte) error {
	return decode(arg, c)
}

func decode(arg []byte, v any) error {
	if len(bytes.TrimSpace(arg)) == 0 {
		return &ArgError{"no JSON"}
	}
	return json.Unmarshal(arg, v)
}

// Append appends the whole CONNECT line.
func (c *Connect) Append(dst []byte) []byte {
	dst = append(dst, "CONNECT "...)
	dst = appendJSON(dst, c)
	return append(dst, CRLF...)
}
