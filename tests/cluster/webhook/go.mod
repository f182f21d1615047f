module bulla.test/webhook

go 1.26
