// SPDX-License-Identifier: Apache-2.0
module squib/tests/clients/go-sdk

go 1.17

require github.com/firecracker-microvm/firecracker-go-sdk v1.0.0
