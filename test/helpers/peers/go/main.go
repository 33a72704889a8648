// A plugin on Kong's go-pdk, to prove the stand-in Kong by a server that nobody here wrote.
package main

import (
	"fmt"

	"github.com/Kong/go-pdk"
	"github.com/Kong/go-pdk/client"
	"github.com/Kong/go-pdk/server"
)

// Config is what a route says.
type Config struct {
	Message  string
	Consumer string
	Deny     bool
	Bench    int
}

// New makes an empty configuration.
func New() interface{} { return &Config{} }

// Access runs for every request.
func (conf Config) Access(kong *pdk.PDK) {
	if conf.Bench > 0 {
		_, _ = kong.Request.GetHeader("apikey")
		return
	}
	asked, _ := kong.Request.GetHeader("x-ask")
	if conf.Deny {
		kong.Response.Exit(401, []byte(fmt.Sprintf(`{"denied":"%s"}`, conf.Message)),
			map[string][]string{"Content-Type": {"application/json"}})
		return
	}
	headers, _ := kong.Request.GetHeaders(100)
	if conf.Consumer != "" {
		found, err := kong.Client.LoadConsumer(conf.Consumer, true)
		if err != nil || found.Id == "" {
			kong.Response.Exit(403, []byte("no such consumer"), nil)
			return
		}
		kong.Client.Authenticate(&found, &client.AuthenticatedCredential{Id: "peer-credential", ConsumerId: found.Id})
		kong.ServiceRequest.SetHeader("X-Peer-Consumer", found.Id)
	}
	_, present := headers["x-ask"]
	kong.ServiceRequest.SetHeader("X-Peer", fmt.Sprintf("%s:%s:%v", conf.Message, asked, present))
}

func main() { server.StartServer(New, "1.0.0", 1000) }
