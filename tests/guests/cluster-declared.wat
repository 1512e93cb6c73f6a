;; Says in its manifest that it needs the namespace's labels; whether it gets them is the operator's to say.
;;@ cluster namespace-labels
(func $hostile (result i32) (call $data (i32.const 0) (i32.const 0x40)) (call $changed))
