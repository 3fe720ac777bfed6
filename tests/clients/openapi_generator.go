// Inserts, reserves and acknowledges with a client that openapi-generator made for Go.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	presque "github.com/example/presque"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	configuration := presque.NewConfiguration()
	configuration.Servers = presque.ServerConfigurations{{URL: os.Args[1]}}
	client := presque.NewAPIClient(configuration)
	ctx := context.Background()

	job := presque.NewNewJob(map[string]interface{}{"n": 1})
	inserted, _, err := client.V1API.Insert(ctx, "generated").
		NewJobOrNewJobs(presque.NewJobOrNewJobs{NewJob: job}).Execute()
	check(err)
	asked := presque.NewReserve()
	asked.SetLease(30.5)
	found, _, err := client.V1API.Reserve(ctx, "none,generated").Reserve(*asked).Execute()
	check(err)
	if len(found.Jobs) != 1 || found.Jobs[0].Id != inserted.JobRef.Id {
		check(fmt.Errorf("other jobs came: %v", found))
	}
	_, err = client.V1API.Ack(ctx, found.Jobs[0].Id).Ack(*presque.NewAck(found.Jobs[0].Receipt)).Execute()
	check(err)
	_, answer, err := client.V1API.LookUp(ctx, found.Jobs[0].Id).Execute()
	if err == nil || answer.StatusCode != 404 {
		check(fmt.Errorf("the job is still there"))
	}
	_, err = client.Y2010API.PushJob(ctx, "generated").RequestBody(map[string]interface{}{"n": 2}).
		Delayed(time.Now().Unix() - 1).Execute()
	check(err)
	body, _, err := client.Y2010API.TakeJob(ctx, "generated").Execute()
	check(err)
	if *body["n"] != float64(2) {
		check(fmt.Errorf("another job came: %v", body))
	}
	_, err = client.V1API.DeleteQueue(ctx, "generated").Execute()
	check(err)
}
