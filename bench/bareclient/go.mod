module nodeipam/bench/bareclient

go 1.26.0
