;; Declares that it writes `/metadata/uid`, which no policy may.
;;@ writes /metadata/labels /metadata/uid
