package natsproto
