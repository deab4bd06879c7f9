// The S3 service of the tests: MinIO, which checks signatures, makes temporary
// credentials and follows their policies.
package main

import (
	"os"

	minio "github.com/minio/minio/cmd"
)

func main() { minio.Main(os.Args) }
